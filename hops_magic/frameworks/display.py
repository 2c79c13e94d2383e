"""What a rank displays: ``display(...)``, figures and tables go to the run's viewers as MIME bundles."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hops_magic.runs.events import Displayed, Event

BACKEND = "module://hops_magic.frameworks.mpl_backend"


@contextmanager
def capture_display(emit: Callable[[Event], None], rank: int) -> Iterator[None]:
    """Send what the code displays to ``emit``; figures that were not shown are shown at the end, as in a notebook."""
    # read by matplotlib when, and if, the user's code imports it
    os.environ["MPLBACKEND"] = BACKEND
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use(BACKEND)

    def publish(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, **_: Any) -> None:
        emit(Displayed(rank=rank, data=plain_bundle(data), metadata=dict(metadata or {})))

    from IPython.core import display_functions

    before = display_functions.display, display_functions.publish_display_data
    import builtins

    def display(*objects: Any, **_: Any) -> None:
        for shown in objects:
            publish(format_value(shown))

    _replace(display_functions, "display", display)
    _replace(display_functions, "publish_display_data", publish)
    import IPython.display

    _replace(IPython.display, "display", display)
    _replace(builtins, "display", display)
    _figures.publish = publish
    try:
        yield
        show_figures()
    finally:
        _replace(display_functions, "display", before[0])
        _replace(display_functions, "publish_display_data", before[1])
        _replace(IPython.display, "display", before[0])
        del builtins.display  # type: ignore[attr-defined]


def _replace(module: Any, name: str, value: Any) -> None:
    setattr(module, name, value)


def format_value(value: Any) -> dict[str, Any]:
    """Return a value's MIME bundle, as IPython's formatters make it, ready for JSON."""
    if _is_figure(value):
        return {"image/png": _png(value), "text/plain": repr(value)}
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(value)
    return plain_bundle(data) or {"text/plain": repr(value)}


def plain_bundle(data: Mapping[str, Any]) -> dict[str, Any]:
    """Make a MIME bundle of what JSON knows: bytes become base64 text."""
    return {
        mime: base64.b64encode(content).decode() if isinstance(content, bytes) else content for mime, content in data.items()
    }


class _Figures:
    """Where shown figures go: set for as long as a cell runs."""

    publish: Callable[..., None] | None = None


_figures = _Figures()


def show_figures() -> None:
    """Display every open matplotlib figure and close it."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or _figures.publish is None:
        return
    for number in pyplot.get_fignums():
        figure = pyplot.figure(number)
        _figures.publish({"image/png": _png(figure), "text/plain": repr(figure)})
    pyplot.close("all")


def _is_figure(value: Any) -> bool:
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.Figure)


def _png(figure: Any) -> str:
    import io

    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return base64.b64encode(file.getvalue()).decode()
