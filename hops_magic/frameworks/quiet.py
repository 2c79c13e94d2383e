"""Keeps TensorFlow's start-up notes out of a notebook: lines on the process's stderr that look like errors and are none.

TensorFlow's libraries write them while they are loaded, before its log takes notice of ``TF_CPP_MIN_LOG_LEVEL``.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_TENSORFLOW = "tensorflow"
_STDERR = 2
# the notes themselves; the line that is put before them; how one of them ends
_NOTE = re.compile(
    rb"^(?:I\d{4} .*|WARNING: All log messages before absl::InitializeLog\(\).*"
    rb"|To enable the following instructions: .* rebuild TensorFlow .*)\n?",
    re.MULTILINE,
)


def quieten_tensorflow() -> None:
    """Let TensorFlow start in silence, unless it has been imported, or the level of its log is said to be 0."""
    if _TENSORFLOW in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    # as on ranks: without a GPU its first tensor is greeted by an error, and what really fails is raised in Python too
    if os.environ.setdefault(_LOG_LEVEL, "3") != "0":
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds TensorFlow as the other finders do, and has it loaded in silence."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for TensorFlow alone."""
        if fullname != _TENSORFLOW:
            return None
        for finder in list(sys.meta_path):
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads a module as its own loader does, without the notes."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # whoever asks the module for its loader, for its files, gets that one
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        with without_notes():
            self._own.exec_module(module)


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Hold back what is written to the process's stderr, and pass it on afterwards without TensorFlow's notes."""
    try:
        stderr = os.dup(_STDERR)
    except OSError:
        # a process without stderr shows nothing anyway
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            held.seek(0)
            if rest := _NOTE.sub(b"", held.read()):
                os.write(_STDERR, rest)
