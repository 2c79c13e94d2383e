"""An authorizer whose rules come with the request."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth import Authorizer


class Denying(Authorizer):
    """Denies what the header ``X-Denied`` says, such as ``write hops_magic``."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return bool(user) and handler.request.headers.get("X-Denied") != f"{action} {resource}"
