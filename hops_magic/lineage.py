"""From features to what was made of them: training datasets, runs, models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hops_magic.features.errors import UnknownNameError
from hops_magic.features.names import GroupName, nearest, parse_feature, parse_group
from hops_magic.features.writing import existing_group
from hops_magic.runs.inputs import FeatureInput, InputKind

if TYPE_CHECKING:
    from hops_magic.features.store import FeatureStore
    from hops_magic.features.training_dataset import Dataset
    from hops_magic.registry import Registry
    from hops_magic.registry.infos import RunInfo


class UseKind(StrEnum):
    """What was made."""

    DATASET = "training dataset"
    RUN = "run"
    MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class Use:
    """Something that was made from features.

    Attributes
    ----------
    through : str
        What it was made from: a group at a commit, a dataset, a run.
    at : float
        Seconds since the epoch.
    """

    kind: UseKind
    name: str
    through: str
    features: tuple[str, ...]
    at: float


def used_by(name: str) -> list[Use]:
    """Return what was made from a group, one of its versions, a feature or a training dataset; newest last.

    Raises
    ------
    UnknownNameError
        If there is nothing of that name.
    """
    from hops_magic.features import default_store
    from hops_magic.registry import open_registry
    from hops_magic.settings import Settings

    return uses_of(name, default_store(), open_registry(Settings.from_environment()))


def uses_of(name: str, store: FeatureStore, registry: Registry) -> list[Use]:
    """Return what was made from a name, of a store and a registry; see :func:`used_by`."""
    origins, feature = _asked_for(name, store)
    uses: list[Use] = []
    for dataset in store.catalog.datasets.outlines():
        for each in _matching(dataset.sources, origins, feature):
            uses.append(_dataset_use(dataset, each))
            # a run that read the dataset used the feature too
            origins = origins | {_Origin(InputKind.DATASET, dataset.full_name)}
    names = sorted({origin.full_name for origin in origins})
    runs = {info.run_id: info for info in registry.runs_that_read(names) if _matching(info.inputs, origins, feature)}
    for info in runs.values():
        for each in _matching(info.inputs, origins, feature):
            place = each.full_name if each.commit is None else f"{each.full_name}, commit {each.commit}"
            run = Use(kind=UseKind.RUN, name=_run_name(info), through=place, features=each.features, at=info.created_at)
            uses.append(run)
    made = [version for model in (registry.models() if runs else ()) for version in registry.versions(model.name)]
    for version in made:
        if version.run_id in runs:
            info = runs[version.run_id]
            features = [name for each in _matching(info.inputs, origins, feature) for name in each.features]
            model = Use(
                kind=UseKind.MODEL,
                name=f"{version.name}/{version.version}",
                through=_run_name(info),
                features=tuple(dict.fromkeys(features)),
                at=version.created_at,
            )
            uses.append(model)
    return sorted(uses, key=lambda use: use.at)


def _dataset_use(dataset: Dataset, source: FeatureInput) -> Use:
    at = dataset.created_at.timestamp() if dataset.created_at else 0.0
    through = f"{source.full_name}, commit {source.commit}"
    return Use(kind=UseKind.DATASET, name=dataset.full_name, through=through, features=source.features, at=at)


class _Origin(NamedTuple):
    """A version of a group or of a training dataset, which may have one name."""

    kind: InputKind
    full_name: str


def _asked_for(name: str, store: FeatureStore) -> tuple[frozenset[_Origin], str | None]:
    """Return the versions that a name means, and the feature if it means one."""
    if "." not in name:
        group = parse_group(name)
        datasets = [
            each
            for each in store.catalog.datasets.outlines()
            if each.name == group.name and group.version in (None, each.version)
        ]
        found = frozenset(_Origin(InputKind.DATASET, each.full_name) for each in datasets)
        if store.catalog.group(group.name, group.version) is not None:
            found |= _versions(group, store)
        if found:
            return found, None
        if store.catalog.group(group.name) is not None:
            # tells the versions that there are
            existing_group(store.catalog, group)
    request = parse_feature(name)
    if request.group is not None:
        return _versions(request.group, store, request.feature), request.feature
    groups = store.catalog.groups_with(request.feature)
    if not groups:
        # tells the nearest names
        existing_group(store.catalog, parse_group(name))
    versions = (each for group in groups for each in store.versions(group.name))
    return frozenset(_Origin(InputKind.GROUP, each.full_name) for each in versions), request.feature


def _versions(group: GroupName, store: FeatureStore, feature: str = "*") -> frozenset[_Origin]:
    """Return the versions of a group, of which one at least must have the feature."""
    first = existing_group(store.catalog, group)
    found = [first] if group.version is not None else store.versions(first.name)
    columns = list(dict.fromkeys(name for each in found for name in each.column_names))
    if feature != "*" and feature not in columns:
        raise UnknownNameError("feature", feature, nearest(feature, columns), first.name)
    return frozenset(_Origin(InputKind.GROUP, each.full_name) for each in found)


def _matching(inputs: Sequence[FeatureInput], origins: frozenset[_Origin], feature: str | None) -> list[FeatureInput]:
    return [
        each
        for each in inputs
        if _Origin(each.kind, each.full_name) in origins and (feature in (None, "*") or feature in each.features)
    ]


def _run_name(info: RunInfo) -> str:
    return f"{info.name} {info.run_id[:6]}"
