"""Whether an indexable dataset gives the same for the same index, whoever asks and whenever.

Its code is read for what draws random numbers or keeps a state; batches are made twice, in another order on each rank; and
what its code can come by (attributes, names, generators of random numbers) is compared before and after, and between ranks.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import hashlib
import pickle
import random
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from hops_magic.frameworks.keras.inputs.parts import reachable

# what draws random numbers, or keeps a state, whatever object it belongs to
_UNSURE = frozenset(
    {
        *(
            "random",
            "rng",
            "default_rng",
            "RandomState",
            "shuffle",
            "permutation",
            "permuted",
            "choice",
            "choices",
            "sample",
        ),
        *("randint", "randn", "rand", "integers", "uniform", "normal", "standard_normal", "seed", "urandom"),
        *("next", "append", "appendleft", "extend", "pop", "popleft", "popitem", "insert", "remove", "setdefault", "update"),
        *("add", "discard", "clear", "setattr", "globals", "exec", "eval", "read", "readline", "seek"),
        *("time", "perf_counter", "monotonic", "now"),
    }
)
_STORES = frozenset({"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "STORE_DEREF"})
_SCALARS = (str, bytes, int, float, bool, type(None))
_MOST_OBJECTS, _MOST_NUMBERS = 4000, 1 << 20


def probed(dataset: Any, *, backwards: bool) -> tuple[float, tuple[str, ...]]:
    """Make some batches of a ``PyDataset``, of a copy as far as it can be copied.

    Parameters
    ----------
    backwards
        Begin with the last batch: ranks do the one or the other, and compare what they have made.

    Returns
    -------
    float
        Seconds that a batch takes, 0.0 if batches may depend on more than their index.
    tuple of str
        Digests of the dataset and of the batches.
    """
    if not _is_pure(type(dataset).__getitem__, type(dataset), set()):
        return 0.0, ()
    first, last = 0, dataset.num_batches - 1
    order = [last, first, last] if backwards else [first, last, first]
    before, drawn = state_of(dataset), _global_draws()
    with _draws_put_back(dataset):
        twin = _copied(dataset)
        began = time.perf_counter()
        batches = [twin[index] for index in order]
        seconds = (time.perf_counter() - began) / len(order)
        made = {(index, _digest(batch)) for index, batch in zip(order, batches, strict=True)}
        is_changed = {before, state_of(twin), state_of(dataset)} != {before} or _global_draws() != drawn
    if len(made) > len(set(order)) or is_changed:
        return 0.0, ()
    return seconds, (before, *(said for _, said in sorted(made)))


def state_of(dataset: Any) -> str:
    """Describe what a dataset's code can come by: the same wherever its batches must be the same."""
    # sorted: names that code has are met in another order in another process
    return hashlib.blake2b(b"".join(sorted(map(_said, _within(dataset)))), digest_size=16).hexdigest()


def _global_draws() -> str:
    return repr((random.getstate(), np.random.get_state()))


def _within(dataset: Any) -> Iterator[Any]:
    kinds = [kind for kind in type(dataset).__mro__ if kind.__module__.split(".")[0] not in ("keras", "builtins")]
    functions = [each for kind in kinds for each in vars(kind).values() if isinstance(each, types.FunctionType)]
    yield from reachable([dataset, *functions], _MOST_OBJECTS)


def _said(value: Any) -> bytes:
    """Describe an object by its own content, not by what it refers to, nor by where it lies."""
    if isinstance(value, np.ndarray):
        step = max(value.size // _MOST_NUMBERS, 1)
        sample = value.reshape(-1)[::step] if value.flags.c_contiguous else value.flat[:_MOST_NUMBERS]
        content = repr(sample[:100].tolist()).encode() if value.dtype.hasobject else sample.tobytes()
        return repr((value.shape, value.dtype)).encode() + hashlib.blake2b(content).digest()
    if isinstance(value, np.random.Generator | np.random.RandomState | random.Random):
        return repr(_drawn_to(value)).encode()
    if isinstance(value, dict):
        scalars = {key: each for key, each in value.items() if isinstance(key, _SCALARS) and isinstance(each, _SCALARS)}
        return repr((len(value), scalars)).encode()
    if isinstance(value, list | tuple | set | frozenset):
        own = [each for each in value if isinstance(each, _SCALARS)]
        return repr((len(value), sorted(own, key=repr) if isinstance(value, set | frozenset) else own)).encode()
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(value, types.FunctionType):
        return _said(attributes)
    is_iterator = type(value).__module__ == "itertools"
    return repr(value).encode() if is_iterator else type(value).__qualname__.encode()


def _drawn_to(generator: Any) -> Any:
    """Return how far a generator of random numbers has drawn."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()


@contextlib.contextmanager
def _draws_put_back(dataset: Any) -> Iterator[None]:
    """Put the generators of random numbers back to where they were: one process makes no batch to try."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    kinds = (np.random.Generator, np.random.RandomState, random.Random)
    states = [(each, copy.deepcopy(_drawn_to(each))) for each in _within(dataset) if isinstance(each, kinds)]
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for generator, state in states:
            if isinstance(generator, random.Random):
                generator.setstate(state)
            elif isinstance(generator, np.random.Generator):
                generator.bit_generator.state = state
            else:
                generator.set_state(state)


def _copied(dataset: Any) -> Any:
    """Copy a dataset with its attributes, but for arrays and for what cannot be copied, such as open files."""
    shared = {id(each): each for each in _within(dataset) if isinstance(each, np.ndarray)}
    twin = copy.copy(dataset)
    for name, value in vars(dataset).items():
        # libraries refuse in many ways
        with contextlib.suppress(Exception):
            vars(twin)[name] = copy.deepcopy(value, shared)
    return twin


def _digest(batch: Any) -> str:
    return hashlib.blake2b(pickle.dumps(batch), digest_size=16).hexdigest()


def _is_pure(function: Any, owner: type, seen: set[int]) -> bool:
    """Whether a function, and those of the user's that it calls, surely keep no state and draw no random numbers."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if id(code) in seen:
        return True
    seen.add(id(code))
    names: set[str] = set()
    for part in _codes(code):
        if any(each.opname in _STORES for each in dis.get_instructions(part)):
            return False
        names.update(part.co_names)
    return not names & _UNSURE and all(_is_pure(each, owner, seen) for each in _called(function, owner, names))


def _called(function: Any, owner: type, names: set[str]) -> Iterator[types.FunctionType]:
    """Yield the functions that a function may call: by name, as methods of the dataset, of modules of the user's."""
    named = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):
            named.append(cell.cell_contents)
    modules = [each for each in named if isinstance(each, types.ModuleType) and _is_users(each)]
    found = [*named, *(getattr(each, name, None) for each in (owner, *modules) for name in names)]
    found += [each.fget for each in found if isinstance(each, property)]
    yield from (each for each in found if isinstance(each, types.FunctionType))


def _is_users(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return bool(file) and not any(file.startswith(folder) for folder in (sys.prefix, sys.base_prefix))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
