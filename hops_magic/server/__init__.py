"""The Jupyter Server extension: the API over HTTP, for the sidebar and for scripts."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from hops_magic.server.app import HopsExtension

    return [{"module": "hops_magic.server", "app": HopsExtension}]
