"""Addresses of schedulers."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def is_listening(address: str) -> bool:
    """Whether a scheduler still listens at an address of this machine; True when that cannot be told."""
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=1.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True
