"""Where the store is used from: the notebook, the script, or the rank of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from hops_magic.frameworks.context import current
from hops_magic.runs.events import FeaturesRead
from hops_magic.runs.inputs import FeatureInput


def written_from(source: str, run_id: str) -> tuple[str, str]:
    """Return the source and the run of a write: those that were said, else where this process comes from."""
    context = current()
    if context is not None:
        # a rank has the environment of whoever started its cluster, which may be another notebook
        return source, run_id or context.run_id
    return source or _notebook() or _script(), run_id


def tell_run(inputs: Iterable[FeatureInput]) -> None:
    """Tell the run of this rank, if it is one, what was read."""
    context = current()
    if context is None:
        return
    for each in inputs:
        context.emit(
            FeaturesRead(
                rank=context.rank,
                source=each.kind.value,
                name=each.name,
                version=each.version,
                commit=each.commit,
                features=each.features,
            )
        )


def _notebook() -> str:
    if told := os.environ.get("JPY_SESSION_NAME"):
        return told
    # a script has not imported IPython, and needs it not
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return "" if shell is None else str(shell.user_ns.get("__vsc_ipynb_file__", ""))


def _script() -> str:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return "" if file is None else str(Path(file).absolute())
