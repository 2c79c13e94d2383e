"""Keras's callbacks that write files: plain ones run on the chief only, and subclasses on every rank.

What a subclass adds may call collectives, as ``self.model.evaluate`` does, and then all ranks must come to it.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.patches import Patches

_WRITERS = frozenset({"ModelCheckpoint", "CSVLogger", "TensorBoard", "RemoteMonitor", "ProgbarLogger"})
_PLACES = ("filename", "log_dir")
"""Where a CSVLogger and a TensorBoard keep the path that they write to; models are saved by one rank anyway."""


def install(patches: Patches, context: RankContext) -> None:
    """Let the chief alone speak to remote monitors."""
    from keras.callbacks import RemoteMonitor

    if context.rank:
        patches.wrap(RemoteMonitor, "on_epoch_end", lambda _: _say_nothing)


def _say_nothing(self: Any, epoch: int, logs: Any = None) -> None: ...


def is_writer(callback: Any) -> bool:
    """Whether a callback is one of Keras's that write files, or derives from one."""
    return any(_is_of_keras(base) and base.__name__ in _WRITERS for base in type(callback).__mro__)


def on_chief_only(callback: Any) -> bool:
    """Whether a callback writes files and does nothing of the user's."""
    return is_writer(callback) and not any(
        inspect.isfunction(value) and name != "__init__"
        for base in type(callback).__mro__
        if not _is_of_keras(base)
        for name, value in vars(base).items()
    )


def set_aside(callback: Any, context: RankContext) -> None:
    """Let a callback of a rank that is not the chief write where the run's own files are, which go with it."""
    for name in _PLACES if context.rank and is_writer(callback) else ():
        if isinstance(getattr(callback, name, None), str):
            folder = context.scratch_dir / f"callbacks-{context.rank}"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            setattr(callback, name, str(folder / Path(getattr(callback, name)).name))


def hook_steers(callback: Any, hook: str) -> bool:
    """Whether a callback's hook can do more than write, and so must see the same logs on all ranks."""
    from keras.src.utils.python_utils import is_default

    method = getattr(callback, hook)
    if is_default(method):
        return False
    of_keras = getattr(method, "__module__", "").startswith("keras.")
    # one that saves the best model after so many batches judges by their logs
    return not (is_writer(callback) and of_keras and getattr(callback, "save_freq", "epoch") == "epoch")


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("keras", "builtins")
