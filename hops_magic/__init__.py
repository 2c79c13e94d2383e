"""Train and tune deep networks on a Dask cluster from ordinary notebook cells.

``%load_ext hops_magic`` adds the magics; ``import hops_magic as hops`` gives the same verbs to scripts. Heavy libraries are
imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic import cluster, experiments, features, models
    from hops_magic.ablations import ablate
    from hops_magic.boards import ExperimentBoard, FeatureBoard, ModelBoard, RunBoard, StudyBoard
    from hops_magic.rank_api import all_reduce, barrier, broadcast, checkpoint, gather, report, restore, shard, should_stop
    from hops_magic.running import attach, live_runs, train, tune, watch
    from hops_magic.tuning.space import choice, grid, lognormal, loguniform, normal, quniform, randint, uniform

    rank: int
    world_size: int
    checkpoint_dir: Path

__version__ = "0.1.0"

# name -> module that has it; None marks a module of that name
_HOMES = {
    "ExperimentBoard": "boards",
    "FeatureBoard": "boards",
    "ModelBoard": "boards",
    "RunBoard": "boards",
    "StudyBoard": "boards",
    "ablate": "ablations",
    "all_reduce": "rank_api",
    "attach": "running",
    "barrier": "rank_api",
    "broadcast": "rank_api",
    "checkpoint": "rank_api",
    "choice": "tuning.space",
    "cluster": None,
    "experiments": None,
    "features": None,
    "gather": "rank_api",
    "grid": "tuning.space",
    "live_runs": "running",
    "lognormal": "tuning.space",
    "loguniform": "tuning.space",
    "models": None,
    "normal": "tuning.space",
    "quniform": "tuning.space",
    "randint": "tuning.space",
    "report": "rank_api",
    "restore": "rank_api",
    "shard": "rank_api",
    "should_stop": "rank_api",
    "train": "running",
    "tune": "running",
    "uniform": "tuning.space",
    "watch": "running",
}
# what is asked anew each time, since it depends on where the code runs
_FACTS = ("rank", "world_size", "checkpoint_dir")

__all__ = [
    "ExperimentBoard",
    "FeatureBoard",
    "ModelBoard",
    "RunBoard",
    "StudyBoard",
    "ablate",
    "all_reduce",
    "attach",
    "barrier",
    "broadcast",
    "checkpoint",
    "checkpoint_dir",
    "choice",
    "cluster",
    "experiments",
    "features",
    "gather",
    "grid",
    "live_runs",
    "lognormal",
    "loguniform",
    "models",
    "normal",
    "quniform",
    "randint",
    "rank",
    "report",
    "restore",
    "shard",
    "should_stop",
    "train",
    "tune",
    "uniform",
    "watch",
    "world_size",
]


def __getattr__(name: str) -> Any:
    if name in _FACTS:
        return getattr(importlib.import_module("hops_magic.rank_api"), name)()
    if name not in _HOMES:
        raise AttributeError(f"module 'hops_magic' has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return importlib.import_module(f"hops_magic.{name}")
    return getattr(importlib.import_module(f"hops_magic.{home}"), name)


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics: called by ``%load_ext hops_magic``."""
    from hops_magic.magics import load

    load(shell)
