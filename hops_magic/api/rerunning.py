"""The cell that runs a recorded run or study again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hops_magic.options import as_words
from hops_magic.registry.infos import RunInfo
from hops_magic.registry.records import RunKind
from hops_magic.runs.options import DistributedOptions

# a run that is started again comes back by itself, and goes on with nothing
_NOT_AGAIN = ("detach", "resume", "dry_run")


def cell_of(info: RunInfo, recorded: Mapping[str, Any], source: str) -> str:
    """Return a magic's line with the options of a run, above its source; the source alone for what no magic started.

    Parameters
    ----------
    recorded
        ``{"options": ..., "params": ...}``, as the registry has them.
    source
        The body of the run's cell.
    """
    options = {name: value for name, value in dict(recorded.get("options", {})).items() if name not in _NOT_AGAIN}
    if not source or not options:
        return source
    if info.kind is not RunKind.STUDY:
        return _cell("%%distributed", as_words(DistributedOptions, options), source)
    if "components" in options or "repeats" in options:
        from hops_magic.tuning.ablation import AblateOptions

        return _cell("%%ablate", as_words(AblateOptions, options), source)
    from hops_magic.tuning.options import TuneOptions

    space = json.loads(dict(recorded.get("params", {})).get("space", "{}"))
    return _cell("%%tune", [*(f"{name}={text}" for name, text in space.items()), *as_words(TuneOptions, options)], source)


def _cell(magic: str, words: list[str], source: str) -> str:
    return " ".join([magic, *words]) + f"\n{source}"
