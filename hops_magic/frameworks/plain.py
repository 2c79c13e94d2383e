"""The adapter for no framework: the body is plain Python on every rank."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hops_magic.frameworks.context import RankContext


class PlainFramework:
    """Seeds the standard library and numpy, and leaves the rest to the user.

    The threads of linear algebra are set by the rank's host, in the environment of the warm process: the libraries read
    it once, when numpy is imported, which is before the fork.
    """

    name = "none"
    preload: tuple[str, ...] = ()

    @contextmanager
    def session(self, context: RankContext) -> Iterator[Mapping[str, Any]]:
        import numpy as np

        random.seed(context.seed)
        np.random.seed(context.seed)
        yield {}
