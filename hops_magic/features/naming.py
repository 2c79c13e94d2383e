"""Names of an answer's columns: each is there once, as the engine compares names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hops_magic.features.errors import FeatureError
from hops_magic.features.names import folded

if TYPE_CHECKING:
    from hops_magic.features.planner import Output, Spine


def named(outputs: Sequence[Output], spine: Spine | None) -> tuple[Output, ...]:
    """Return the columns of an answer, beside those of a spine, under names of their own.

    Raises
    ------
    FeatureError
        If two of them would have the same name.
    """
    own = spine.columns if spine else ()
    in_roles = {folded(output.name) for output in outputs if output.role}
    # a role's prefix is asked for, so no other one is put before it
    twice = _several([*own, *(output.name for output in outputs)]) & in_roles
    found = _of_groups(outputs)
    if spine:
        found = _beside_spine(found, spine)
    twice = twice or _several([*own, *(output.name for output in found)])
    if twice:
        raise FeatureError(
            f"the answer would have several columns named {', '.join(sorted(twice))}: ask for fewer features at once, or "
            f"rename a column{' of the spine' if spine else ''}"
        )
    return found


def _of_groups(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Give columns of one name from several groups their group's name as a prefix."""
    clashing = _several(output.name for output in outputs)
    renamed = tuple(
        replace(output, name=f"{output.group.name}_{output.name}") if folded(output.name) in clashing else output
        for output in outputs
    )
    if _several(output.name for output in renamed):
        # two versions of one group
        renamed = tuple(
            replace(output, name=f"{output.group.name}_{output.group.version}_{output.column.name}")
            if folded(output.column.name) in clashing
            else output
            for output in outputs
        )
    return renamed


def _beside_spine(outputs: Sequence[Output], spine: Spine) -> tuple[Output, ...]:
    """Leave out keys that the spine has; a feature named like one of its columns gets its group's name as a prefix."""
    own = {folded(name) for name in spine.columns}
    kept = [output for output in outputs if not (folded(output.name) in own and output.is_brought)]
    return tuple(
        replace(output, name=f"{output.group.name}_{output.name}") if folded(output.name) in own else output
        for output in kept
    )


def _several(names: Iterable[str]) -> set[str]:
    """Return the names, as the engine compares them, that are there several times."""
    return {name for name, count in Counter(map(folded, names)).items() if count > 1}
