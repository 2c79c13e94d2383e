"""Widgets whose state pages are told, and cannot set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget


class ToldWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """A widget that takes nothing from its pages but requests.

    Ipywidgets sets whatever synchronised value a page sends, the front end's code included, and shows it to all pages.
    Here a page is told the kernel's values again instead.
    """

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Tell the page that would set something how it is."""
        self.send_state([name for name in sync_data if name in self.keys])


def numbered(content: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the page and the number of a request; None for whatever else a page may have sent."""
    page, number = content.get("page"), content.get("id")
    if content.get("type") != "request" or not isinstance(page, str) or type(number) is not int:
        return None
    return page, number
