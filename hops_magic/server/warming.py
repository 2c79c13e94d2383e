"""Opens what the first request would wait for, while the browser still loads its page."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from hops_magic.errors import HopsError

if TYPE_CHECKING:
    from hops_magic.api.context import Context

log = logging.getLogger(__name__)


def warm_up(open_context: Callable[[], Context]) -> None:
    """Open the registry and the catalog of a user who has a record on this machine; takes seconds and 200 MB."""
    try:
        context = open_context()
        file = context.session.settings.database_file
        if file is None or not file.exists():
            # whoever has recorded nothing does not pay, and nobody's server is spoken to unasked
            return
        context.features.groups(limit=1)
        context.registry.runs(limit=1)
    except HopsError as error:
        # whoever asks for it is told
        log.info("not opened ahead of the first request: %s", error)
        return
    # what the libraries made stays for good: going through it would stop the server for 0.2 s again and again
    gc.collect()
    gc.freeze()
