"""Libraries that several threads of a server come to need in the same moment."""

from __future__ import annotations

import importlib
import threading

# others are built on these; two threads that import them at once can each be handed the other's half-made modules
_SHARED = ("numpy", "pandas", "pyarrow", "scipy.sparse", "sqlalchemy")
_lock = threading.Lock()


def import_shared() -> None:
    """Import, one at a time, what the libraries of the stores have in common; takes a second the first time."""
    with _lock:
        for name in _SHARED:
            importlib.import_module(name)
