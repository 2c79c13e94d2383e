"""Values of kinds that never travel, each with what it is and what to do instead."""

from __future__ import annotations

import io
import sys
import types
from dataclasses import dataclass
from typing import Any

_LOCKS = frozenset({"lock", "RLock"})


@dataclass(frozen=True)
class Why:
    """Why a value stays: ``what`` it is, e.g. ``a generator``, and the ``remedy``."""

    what: str
    remedy: str


class CannotTravelError(Exception):
    """A value of a kind that never travels."""

    def __init__(self, value: object, why: Why) -> None:
        super().__init__(value, why)
        self.value, self.why = value, why

    def __str__(self) -> str:
        return f"{self.why.what}: {self.why.remedy}"


def why_it_stays(value: Any) -> Why | None:
    """Why a value of a kind that never travels stays behind; None for all others. Imports nothing."""
    if isinstance(value, io.IOBase):
        return _file(value)
    if isinstance(value, types.GeneratorType):
        return Why("a generator", "its place in the code cannot travel, make it inside the cell")
    if isinstance(value, types.CoroutineType | types.AsyncGeneratorType):
        return Why("a coroutine", "await it in a cell of the notebook and use its result")
    kind = type(value)
    module, name = kind.__module__, kind.__qualname__
    if (module, name) == ("itertools", "_tee"):
        return Why("an iterator that itertools.tee made", "its siblings would lose their place, make it inside the cell")
    if (module, name) == ("weakref", "finalize"):
        return Why("a weakref.finalize", "what it waits for lives in the notebook, make it inside the cell")
    if module == "threading" or (module == "_thread" and name in _LOCKS) or _is_thread(value):
        return _threading(value)
    if (module, name) == ("socket", "socket"):
        return Why("an open socket", "connect inside the cell")
    if module == "subprocess" and name == "Popen":
        return Why("a running process", "start it inside the cell")
    if module.startswith("torch") and getattr(value, "is_cuda", False) is True:
        return Why(f"a GPU tensor on {value.device}", "its copy in main memory travels, use .cpu()")
    if module.startswith("cupy") and name == "ndarray":
        return Why("a GPU array", "its copy in main memory travels, use .get()")
    if module.startswith("tensorflow.python.data."):
        return Why("a tf.data pipeline, bound to this process", "build it inside the cell from its data")
    if module.startswith("distributed.") and name == "Client":
        return Why("a client of a Dask cluster", "inside the cell use hops and the data instead")
    return None


def told_apart(kind: type) -> bool:
    """Whether some objects of a class stay and others do not."""
    return kind.__module__.startswith(("torch", "cupy"))


def _file(value: io.IOBase) -> Why | None:
    if isinstance(value, io.FileIO | io.BufferedReader | io.BufferedWriter | io.BufferedRandom | io.TextIOWrapper):
        name = getattr(value, "name", "")
        return Why(f"an open file{f' {name!r}' if name else ''}", "open it inside the cell")
    return None


def _is_thread(value: Any) -> bool:
    threading = sys.modules.get("threading")
    return threading is not None and isinstance(value, threading.Thread)


def _threading(value: Any) -> Why:
    if _is_thread(value):
        what = f"a running thread {value.name!r}" if value.is_alive() else f"a thread {value.name!r}"
        return Why(what, "it belongs to the notebook's process, start it inside the cell")
    kind = type(value).__name__
    what = "a lock" if kind.lower().endswith("lock") else f"a threading.{kind}"
    return Why(what, "it belongs to the notebook's process, make it inside the cell")
