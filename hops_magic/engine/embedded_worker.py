"""Preloaded by the embedded cluster's workers: they do not outlive the daemon, however it ends."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.forks import die_with_parent


def dask_setup(worker: Any) -> None:  # noqa: ARG001 (the signature is Dask's)
    """Tie the worker's process to the daemon, which has started it."""
    die_with_parent()
