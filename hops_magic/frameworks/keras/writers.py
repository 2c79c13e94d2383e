"""Keras's and TensorFlow's writers of files on several ranks: each file is written once, whole, and there for all ranks."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.drafts import drafted, is_local
from hops_magic.frameworks.one_writer import OneWriter
from hops_magic.frameworks.patches import Patches

Make = Callable[[Any], Any]

_draft: ContextVar[tuple[str, str]] = ContextVar("hops_draft", default=("", ""))
_follows: ContextVar[bool] = ContextVar("hops_follows", default=False)


def install(patches: Patches, context: RankContext) -> None:
    """Let one rank of each machine write what all are asked to write; undone with the other patches."""
    import keras
    import tensorflow as tf
    from keras.src.export import saved_model_export_archive
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.saving import saving_lib
    from keras.src.utils import io_utils, model_visualization
    from tensorflow.python.saved_model import save as tf_save

    writer = OneWriter(context.scratch_dir / f"writes-{context.attempt}", context.rank)
    written: set[str] = set()

    def once(argument: str) -> Make:
        return lambda original: _once(original, argument, writer, written)

    for owner, name in ((saving_lib, "save_model"), (saving_lib, "save_weights_only"), (keras.Model, "export")):
        patches.wrap(owner, name, once("filepath"))
    patches.wrap(legacy_h5_format, "save_model_to_hdf5", once("filepath"))
    patches.wrap(saved_model_export_archive.SavedModelExportArchive, "write_out", once("filepath"))
    for owner in (tf.saved_model, tf_save):
        patches.wrap(owner, "save", once("export_dir"))
    for owner in (keras.utils, model_visualization):
        patches.wrap(owner, "plot_model", once("to_file"))
    patches.wrap(io_utils, "print_msg", _naming_the_place)
    patches.wrap(io_utils, "ask_to_proceed_with_overwrite", lambda original: _asking(original, writer, written))
    _install_checkpoints(patches, writer)


def _install_checkpoints(patches: Patches, writer: OneWriter) -> None:
    """TensorFlow's checkpoints appear whole by themselves, the index last; their keepers count on every rank."""
    import tensorflow as tf
    from tensorflow.python.checkpoint import checkpoint_management

    patches.wrap(tf.train.Checkpoint, "_write", lambda original: _checkpoint(original, writer))
    patches.wrap(tf.train.Checkpoint, "save", _in_this_thread)
    for name in ("update_checkpoint_state_internal", "_delete_file_if_exists"):
        patches.wrap(checkpoint_management, name, _unless_following)


def _once(original: Any, argument: str, writer: OneWriter, written: set[str]) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def write(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments[argument]
        if not is_local(given):
            return original(*args, **kwargs)
        path = str(Path(given).resolve())

        def draft_first() -> Any:
            written.add(path)
            with drafted(path) as draft, _named(draft, os.fspath(given)):
                bound.arguments[argument] = type(given)(draft) if isinstance(given, str | Path) else draft
                return original(*bound.args, **bound.kwargs)

        return writer.once(path, draft_first)

    return write


@contextlib.contextmanager
def _named(draft: str, path: str) -> Iterator[None]:
    token = _draft.set((draft, path))
    try:
        yield
    finally:
        _draft.reset(token)


def _naming_the_place(original: Any) -> Any:
    """Messages of what is written name the place, not the draft."""

    @functools.wraps(original)
    def print_msg(message: Any, *args: Any, **kwargs: Any) -> Any:
        draft, path = _draft.get()
        if draft and isinstance(message, str):
            message = message.replace(draft, path)
        return original(message, *args, **kwargs)

    return print_msg


def _asking(original: Any, writer: OneWriter, written: set[str]) -> Any:
    """``overwrite=False`` is about what was there before: not about the file that another rank has just written."""

    @functools.wraps(original)
    def ask(filepath: Any) -> Any:
        path = str(Path(filepath).resolve())
        return (path not in written and writer.has_written(path)) or original(filepath)

    return ask


def _checkpoint(original: Any, writer: OneWriter) -> Any:
    from tensorflow.python.checkpoint import checkpoint as checkpoints

    @functools.wraps(original)
    def write(self: Any, file_prefix: Any, options: Any = None) -> Any:
        # inside a function it is an op of a graph, run when and where the graph is
        if not is_local(file_prefix) or not _is_eager():
            return original(self, file_prefix, options)
        options = _without_thread(options)

        def follow(path: Any) -> Any:
            token = _follows.set(True)
            try:
                callbacks = (options and options.experimental_write_callbacks) or ()
                checkpoints._execute_callbacks(callbacks, path)  # what a keeper counts, it counts there
            finally:
                _follows.reset(token)
            return path

        path = str(Path(file_prefix).resolve())
        return writer.once(path, lambda: original(self, file_prefix, options), follow=follow)

    return write


def _is_eager() -> bool:
    import tensorflow as tf

    return bool(tf.executing_eagerly())


def _in_this_thread(original: Any) -> Any:
    @functools.wraps(original)
    def save(self: Any, file_prefix: Any, options: Any = None) -> Any:
        return original(self, file_prefix, _without_thread(options))

    return save


def _without_thread(options: Any) -> Any:
    """A file that is to be there in the next line cannot be written by a thread of TensorFlow's."""
    if options is None or not options.experimental_enable_async_checkpoint:
        return options
    import copy

    options = copy.copy(options)
    options.experimental_enable_async_checkpoint = False
    return options


def _unless_following(original: Any) -> Any:
    @functools.wraps(original)
    def change(*args: Any, **kwargs: Any) -> Any:
        return None if _follows.get() else original(*args, **kwargs)

    return change
