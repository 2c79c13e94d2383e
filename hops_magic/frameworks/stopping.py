"""How code that was asked to stop is ended between two steps of its training."""

from __future__ import annotations


class StopRequested(KeyboardInterrupt):
    """The run is to stop: raised in the user's code, where the interrupt of a plain process would be.

    It is an interrupt, so code that ends gracefully by ``except KeyboardInterrupt`` does so here.
    """
