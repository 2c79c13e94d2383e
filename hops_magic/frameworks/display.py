"""What a rank displays: ``display(...)``, figures and tables go to the run's viewers as MIME bundles."""

from __future__ import annotations

import base64
import builtins
import functools
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hops_magic.runs.events import Cleared, Displayed, Event

BACKEND = "module://hops_magic.frameworks.mpl_backend"
MAX_BUNDLE_CHARS = 8 << 20
"""A form of a display that is longer is not sent: viewers would not show it."""

# the other end of a widget lives in the rank's process: no viewer could show it
_UNSENT = frozenset({"application/vnd.jupyter.widget-view+json"})


class Screen:
    """Stands in for IPython's display functions in a process without a shell."""

    def __init__(self, emit: Callable[[Event], None], rank: int) -> None:
        self._emit, self._rank = emit, rank
        self._clears_next = False
        self._numbers = itertools.count(1)

    def publish_display_data(
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        *,
        transient: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Send a MIME bundle."""
        if self._clears_next:
            self.clear_output()
        display_id = str((transient or {}).get("display_id", ""))
        self._emit(Displayed(rank=self._rank, data=plain_bundle(data), metadata=dict(metadata or {}), display_id=display_id))

    def display(
        self,
        *objects: Any,
        metadata: Mapping[str, Any] | None = None,
        raw: bool = False,
        display_id: str | bool | None = None,
        clear: bool = False,
        **_: Any,
    ) -> Any:
        """Send objects as IPython would show them; returns a handle if ``display_id`` is given."""
        from IPython.display import DisplayHandle

        if display_id is True:
            display_id = f"rank {self._rank} display {next(self._numbers)}"
        if clear:
            self.clear_output(wait=True)
        if not objects and display_id:
            objects, raw = ({},), True  # a place to be filled later
        transient = {"display_id": display_id} if display_id else {}
        for shown in objects:
            data, described = (shown, {}) if raw else _formatter().format(shown)
            # nothing: the object has displayed itself
            if data or raw:
                self.publish_display_data(data, {**described, **(metadata or {})}, transient=transient)
        return DisplayHandle(display_id) if display_id else None

    def clear_output(self, wait: bool = False) -> None:
        """Take back what this rank displayed, with ``wait`` only when the next display comes."""
        self._clears_next = wait
        if not wait:
            self._emit(Cleared(rank=self._rank))


class _Now:
    """The screen of this process: set for as long as a cell runs."""

    screen: Screen | None = None


@contextmanager
def capture_display(emit: Callable[[Event], None], rank: int) -> Iterator[None]:
    """Send what the code displays to ``emit``; figures that were not shown are shown at the end, as in a notebook."""
    import IPython.display
    from IPython.core import display_functions

    # read by matplotlib when, and if, the user's code imports it
    os.environ["MPLBACKEND"] = BACKEND
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use(BACKEND)
    _Now.screen = screen = Screen(emit, rank)
    before = {}
    for method in (screen.display, screen.publish_display_data, screen.clear_output):
        original = before[method.__name__] = getattr(display_functions, method.__name__)
        stand_in = _standing_in(original, method)
        for module in (display_functions, IPython.display):
            setattr(module, method.__name__, stand_in)
    builtins.display = display_functions.display  # type: ignore[attr-defined]
    try:
        yield
        show_figures()
    finally:
        _Now.screen = None
        for name, original in before.items():
            for module in (display_functions, IPython.display):
                setattr(module, name, original)
        del builtins.display  # type: ignore[attr-defined]


def _standing_in(original: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    # named like the original, and so pickled by that name: a cell may import it, and its values travel back
    @functools.wraps(original)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return stand_in


def format_value(value: Any) -> dict[str, Any]:
    """Return a value's MIME bundle, as IPython's formatters make it, ready for JSON."""
    data, _ = _formatter().format(value)
    return plain_bundle(data) or {"text/plain": repr(value)}


@functools.cache
def _formatter() -> Any:
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    formatter.formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _png)
    return formatter


def plain_bundle(data: Mapping[str, Any]) -> dict[str, Any]:
    """Make a MIME bundle of what JSON knows: bytes become base64 text."""
    bundle, left = {}, []
    for mime, content in data.items():
        sent = base64.b64encode(content).decode() if isinstance(content, bytes) else content
        if mime in _UNSENT:
            continue
        if isinstance(sent, str) and len(sent) > MAX_BUNDLE_CHARS:
            left.append(f"{mime} of {len(sent) >> 20} MB")
        else:
            bundle[mime] = sent
    if left:
        bundle.setdefault("text/plain", f"<too large to show: {', '.join(left)}>")
    return bundle


def show_figures() -> None:
    """Display every open matplotlib figure and close it."""
    pyplot, screen = sys.modules.get("matplotlib.pyplot"), _Now.screen
    if pyplot is None or screen is None:
        return
    for number in pyplot.get_fignums():
        screen.display(pyplot.figure(number))
    pyplot.close("all")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()
