"""Run a program as one process and as ranks, and say how they compare."""

import linecache
import os
import re
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
from parity import alone, ranks

from hops_magic.runs.events import Warned

TOLERANCE = 1e-9
REFUSALS = ("hops_magic.errors.UnsupportedError", "hops_magic.errors.UsageError")
GOOD = ("equal", "refused", "named", "discarded")


@dataclass
class Verdict:
    """How ranks compare with one process.

    ``kind`` is equal, refused, named (in a warning) or discarded (the program does not run, or magnifies rounding); else it
    is silent (another result without a word), crash, or needless (refused or warned although all of its pieces are exact).
    """

    kind: str
    why: str = ""
    differing: dict[str, float] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether somebody must look at it."""
        return self.kind not in GOOD

    @property
    def symptom(self) -> str:
        """What failures of one cause have in common."""
        sorts = sorted({name.split(":")[0] for name in self.differing})
        return f"{self.kind}: {re.sub(r'[0-9.]+', '#', self.why)[:90] or ', '.join(sorts)}"


def judge(
    text: str,
    world: int,
    *,
    told: bool,
    names: tuple[str, ...] = (),
    tolerance: float = TOLERANCE,
    before: Callable[[], None] = lambda: None,
) -> Verdict:
    """Compare a program on ``world`` ranks with one process.

    ``told`` says whether it holds pieces that may be refused or warned of, ``names`` what a warning may call them;
    ``before`` is called in each process ahead of the program.
    """

    def body() -> dict[str, np.ndarray]:
        before()
        return run(text)

    expected = alone(body)
    if expected.error:
        return Verdict("discarded", last_line(expected.error))
    try:
        ended = ranks(body, world, may_fail=True)
    except AssertionError as hung:
        return Verdict("crash", str(hung))
    errors = [last_line(each.error) for each in ended if each.error]
    if errors:
        refusals = [error for error in errors if error.startswith(REFUSALS)]
        if not refusals:
            return Verdict("crash", next((e for e in errors if "PeerLost" not in e and "Interrupted" not in e), errors[0]))
        return Verdict("refused" if told else "needless", refusals[0])
    messages = dict.fromkeys(e.message for each in ended for e in each.events if isinstance(e, Warned))
    warned = [message for message in messages if "the model is not recorded" not in message]  # of saving, not of training
    differing = differences(expected.result, [each.result for each in ended], tolerance)
    if not differing:
        return Verdict("needless" if warned and not told else "equal", " ".join(warned)[:200], warned=warned)
    if unnamed := _unnamed(differing, warned, names):
        nudged = alone(lambda: (before(), run(text, nudge=1e-13))[1])
        if all(by < 1e4 * noise(expected.result, nudged.result, name) for name, by in unnamed.items()):
            return Verdict("discarded", "it magnifies rounding", differing)
        return Verdict("silent", "", unnamed, warned)
    return Verdict("named", "", differing, warned)


def run(text: str, nudge: float = 0.0) -> dict[str, np.ndarray]:
    """Execute a program and collect what it leaves."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter("ignore")
    if nudge:
        _nudge_weights(nudge)
    module = types.ModuleType("program")
    module.__file__ = "<program>"
    sys.modules["program"] = module
    linecache.cache["<program>"] = (len(text), None, text.splitlines(keepends=True), "<program>")
    exec(compile(text, "<program>", "exec"), module.__dict__)
    return left_by(module.__dict__)


def _nudge_weights(nudge: float) -> None:
    fit = keras.Model.fit

    def nudged(self, *args, **kwargs):
        for variable in self.trainable_variables:
            variable.assign(variable * (1 + nudge))
        return fit(self, *args, **kwargs)

    keras.Model.fit = nudged


def left_by(names: dict[str, object]) -> dict[str, np.ndarray]:
    """Return models' weights, optimizers' states, histories, and whatever the program bound in numbers."""
    found: dict[str, object] = {}
    for name, value in names.items():
        if name.startswith("_"):
            continue
        if isinstance(value, keras.Model):
            optimizer = getattr(value, "optimizer", None)
            for index, weight in enumerate(value.weights):
                found[f"weights:{name}.{index}.{weight.path}"] = weight.numpy()
            for index, state in enumerate(optimizer.variables if optimizer else ()):
                found[f"optimizer:{name}.{index}"] = state.numpy()
        elif isinstance(value, keras.callbacks.History):
            found |= {f"history:{log}": values for log, values in value.history.items()}
        elif name in ("scores", "predicted", "SCORES", "SEEN", "DRAWN", "result"):
            found |= dict(_flat(f"{name}:", value))
    return {name: np.asarray(value) for name, value in found.items()}


def _flat(name: str, value: object):
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _flat(f"{name}{key}", each)
    elif name.startswith("SEEN") and isinstance(value, list):
        for index, each in enumerate(value):
            yield from _flat(f"{name}{index}.", each)
    else:
        yield name, np.asarray(value, float)


def differences(expected: dict, each: list[dict], tolerance: float = TOLERANCE) -> dict[str, float]:
    """Return by how much what ranks left differs from what one process left, where it does."""
    found = {}
    for rank, left in enumerate(each):
        for name in expected.keys() | left.keys():
            if name.startswith("DRAWN"):
                if rank and np.array_equal(left[name], each[0][name]):
                    found["DRAWN: ranks draw the same random numbers"] = 1.0
                continue
            by = apart(expected[name], left[name]) if name in expected and name in left else np.inf
            if by > tolerance:
                found[name] = max(by, found.get(name, 0.0))
    return found


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays in relation to their size; two NaN are alike."""
    if a.shape != b.shape:
        return np.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return float(np.abs(a - b).max(initial=0.0) / max(float(np.abs(a).max(initial=0.0)), 1e-3))


def noise(a: dict, b: dict, name: str) -> float:
    """Return what a change in the last digits makes of a value."""
    return apart(a[name], b[name]) if name in a and name in b else 0.0


def _unnamed(differing: dict[str, float], warned: list[str], names: tuple[str, ...]) -> dict[str, float]:
    """Return what differs without a word; whatever else other weights lead to is named with one of them."""
    if any(name.startswith("weights:") and _is_named(name, warned, names) for name in differing):
        return {name: by for name, by in differing.items() if name.startswith("DRAWN:")}
    return {name: by for name, by in differing.items() if not _is_named(name, warned, names)}


def _is_named(what: str, warned: list[str], names: tuple[str, ...]) -> bool:
    """Whether a warning names a piece of the program that may be the cause, or what differs."""
    sort, _, rest = what.partition(":")
    own = rest.removeprefix("val_") if sort == "history" else rest.split(".", 2)[-1]
    said = "\n".join(warned).lower()
    return any(name and name.lower() in said for name in (own, *own.split("/")[:-1], *names))


def last_line(error: str) -> str:
    """Return the sentence of a traceback."""
    lines = [line for line in error.strip().splitlines() if line]
    for line in reversed(lines):
        if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Lost|Stopped|Interrupted)\b", line):
            return line
    return lines[-1] if lines else ""
