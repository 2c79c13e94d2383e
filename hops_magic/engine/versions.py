"""Which versions the kernel and a cluster must share to talk to each other."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping

from hops_magic.errors import VersionMismatchError

Versions = Mapping[str, str]

# component -> how many leading numbers of its version must agree
_AGREE = {
    "python": 2,
    "dask": 3,
    "distributed": 3,
    "cloudpickle": 2,
    "hops_magic": 2,
    "tensorflow": 2,
    "keras": 2,
    "torch": 2,
}


def installed() -> dict[str, str]:
    """Versions here, without importing anything; what is not installed is left out."""
    # ours has no metadata where it is used from its source folder
    found = {"python": platform.python_version(), "hops_magic": str(sys.modules["hops_magic"].__version__)}
    for name in _AGREE:
        if name != "python":
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def compare(kernel: Versions, other: Versions, where: str, remedy: str) -> None:
    """Refuse a cluster whose versions do not go with the kernel's; what ``other`` does not tell is not judged.

    Raises
    ------
    VersionMismatchError
        Naming the first component that differs, both versions, and ``remedy``.
    """
    for name, depth in _AGREE.items():
        here, there = kernel.get(name), other.get(name)
        if here and there and here.split(".")[:depth] != there.split(".")[:depth]:
            raise VersionMismatchError(f"{where} runs {name} {there}, this kernel {name} {here}: {remedy}")
