"""Where a view is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, TextIO

from hops_magic.errors import OptionError

# they show what a kernel displays once, as text, and know of no update
_TEXT_CONSOLES = {"jupyter-console", "jupyter_console", "jupyter-qtconsole", "qtconsole"}


class Environment(Enum):
    """What the process that opens a view can show."""

    NOTEBOOK = "notebook"
    VOILA = "voila"
    TERMINAL = "terminal"
    STREAM = "stream"

    @property
    def shows_widgets(self) -> bool:
        """Whether a browser is at the other end."""
        return self in (Environment.NOTEBOOK, Environment.VOILA)

    @property
    def is_blocked_by_cells(self) -> bool:
        """Whether nothing is shown before a cell has ended, so that a run must be followed from a thread."""
        return self is Environment.VOILA


def detect(shell: Any = None, environ: Mapping[str, str] | None = None, stream: TextIO | None = None) -> Environment:
    """Tell the environment of this process; ``HOPS_VIEW`` (``notebook``, ``terminal``, ``stream`` ...) overrides it.

    Parameters
    ----------
    shell
        The interactive shell; by default the current one.
    environ
        By default the process's environment variables.
    stream
        What a terminal view would write to; by default ``sys.stdout``.

    Raises
    ------
    OptionError
        If ``HOPS_VIEW`` names none.
    """
    environ = os.environ if environ is None else environ
    if forced := environ.get("HOPS_VIEW"):
        known = [environment.value for environment in Environment]
        if forced not in known:
            raise OptionError("HOPS_VIEW", f"must be one of {', '.join(known)}", forced, "unset it to let the kernel decide")
        return Environment(forced)
    shell = _current_shell() if shell is None else shell
    if getattr(shell, "kernel", None) is not None:
        if _is_of_text_console(environ):
            return Environment.STREAM
        is_voila = environ.get("SERVER_SOFTWARE", "").startswith("voila/")
        return Environment.VOILA if is_voila else Environment.NOTEBOOK
    is_terminal = (stream or sys.stdout).isatty() and environ.get("TERM", "") != "dumb"
    return Environment.TERMINAL if is_terminal else Environment.STREAM


def _is_of_text_console(environ: Mapping[str, str]) -> bool:
    """Whether this process is a kernel that a console without pages has started."""
    parent = environ.get("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return False
    import psutil

    try:
        command = psutil.Process(int(parent)).cmdline()
    except psutil.Error:
        # it has ended, or is another user's: then it is taken for a server
        return False
    # `jupyter-console` of a script's folder, or `.../jupyter_console/__main__.py`
    paths = [PurePath(argument) for argument in command[:3]]
    return any(path.stem in _TEXT_CONSOLES or path.parent.name in _TEXT_CONSOLES for path in paths)


def _current_shell() -> Any:
    # a plain script has not imported IPython: then there is no shell, and no reason to pay for the import
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None
