"""The adapter for no framework: the body is plain Python on every rank."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hops_magic.frameworks.context import RankContext

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class PlainFramework:
    """Seeds the standard library and numpy, sets the threads of linear algebra, and leaves the rest to the user."""

    name = "none"
    preload: tuple[str, ...] = ()

    @contextmanager
    def session(self, context: RankContext) -> Iterator[Mapping[str, Any]]:
        import numpy as np

        random.seed(context.seed)
        np.random.seed(context.seed)
        with _threads(context.threads):
            yield {}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give the numeric libraries so many threads: those that read their environment before the fork, and those to come."""
    if all(os.environ.get(name) == str(count) for name in _VARIABLES):
        yield
        return
    import threadpoolctl  # type: ignore[import-untyped]

    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    with threadpoolctl.threadpool_limits(count):
        yield
