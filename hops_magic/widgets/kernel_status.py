"""What a kernel says of itself while a cell runs: busy, whatever else it answers in between.

A message that another thread of the kernel handles ends with the status "idle". JupyterLab, and the server, which ends idle
kernels, take that for the whole kernel: it is said again that the cell keeps it busy.
"""

from __future__ import annotations

import threading
from typing import Any


def stay_busy(kernel: Any, main_thread: threading.Thread) -> None:
    """Let the kernel be called busy for as long as its main thread works at a request; a second call does nothing."""
    if hasattr(kernel, "_hops_status"):
        return
    kernel._hops_status = _Status(kernel, main_thread)
    kernel._publish_status = kernel._hops_status.publish


class _Status:
    """Stands between the kernel and what it publishes of its status."""

    def __init__(self, kernel: Any, main_thread: threading.Thread) -> None:
        self._publish, self._parent_of = kernel._publish_status, kernel.get_parent
        self._main_thread = main_thread
        self._lock = threading.Lock()
        # views are opened by cells: their beginning was told before
        self._request = self._parent_of("shell") if threading.current_thread() is main_thread else None

    def publish(self, status: str, channel: str, parent: Any = None) -> None:
        with self._lock:
            self._publish(status, channel, parent)
            if threading.current_thread() is self._main_thread:
                if channel == "shell":
                    self._request = (parent or self._parent_of(channel)) if status == "busy" else None
            elif status == "idle" and self._request is not None:
                self._publish("busy", "shell", self._request)
