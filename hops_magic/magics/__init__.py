"""Front doors in IPython: parse, call, show."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load(shell: InteractiveShell) -> None:
    """Register every magic with a shell; doing it again changes nothing."""
    from hops_magic.frameworks.quiet import quieten_tensorflow
    from hops_magic.magics.ablate import AblateMagics
    from hops_magic.magics.cluster import ClusterMagics
    from hops_magic.magics.distributed import DistributedMagics
    from hops_magic.magics.experiments import ExperimentsMagics
    from hops_magic.magics.features import FeaturesMagics
    from hops_magic.magics.models import ModelsMagics
    from hops_magic.magics.tune import TuneMagics
    from hops_magic.session import session

    # a kernel that takes a whole GPU with its first tensor would leave none of it to the ranks on this machine
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    quieten_tensorflow()
    current = session()
    for magics in (ClusterMagics, ExperimentsMagics, ModelsMagics, FeaturesMagics, TuneMagics, AblateMagics):
        shell.register_magics(magics(shell, current))
    DistributedMagics(shell, current).register()
    shell.events.register("post_run_cell", current.cell_ran)
