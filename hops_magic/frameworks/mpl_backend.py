"""The matplotlib backend of ranks: drawn without a screen, shown as images in the run's views."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, new_figure_manager  # noqa: F401 (matplotlib looks for it here)

from hops_magic.frameworks.display import show_figures

FigureCanvas = FigureCanvasAgg


def show(*_: Any, **__: Any) -> None:
    """Called by ``plt.show()``."""
    show_figures()
