"""The picture of lineage: what something was made from, and what was made from it, as far as it goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hops_magic.errors import NotFoundError
from hops_magic.features.errors import FeatureError
from hops_magic.features.training_dataset import Dataset
from hops_magic.runs.inputs import FeatureInput, InputKind

if TYPE_CHECKING:
    from hops_magic.features.store import FeatureStore
    from hops_magic.registry import Registry
    from hops_magic.registry.infos import ModelVersion, RunInfo

MOST_NODES = 200


class NodeKind(StrEnum):
    """What a node is, in the order in which one is made from the other."""

    GROUP = "group"
    DATASET = "dataset"
    RUN = "run"
    MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A version of a group, dataset or model, or a run.

    Attributes
    ----------
    name : str
        ``teams@1``, a run's id, or ``digits/3``; empty features of a node that is gone stay.
    at : float or None
        When it was made, in seconds since the epoch; None for what is gone.
    """

    kind: NodeKind
    name: str
    label: str
    at: float | None = None
    state: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """``target`` was made from ``source``, reading these features of it, at a commit if it has any."""

    source: tuple[NodeKind, str]
    target: tuple[NodeKind, str]
    features: tuple[str, ...] = ()
    commit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes and edges around one node; ``is_cut`` if there are more than can be shown."""

    focus: tuple[NodeKind, str]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_cut: bool = False


def graph_of(kind: NodeKind, name: str, store: FeatureStore, registry: Registry) -> Graph:
    """Walk from something to all that it was made from, and to all that was made from it.

    Parameters
    ----------
    name
        ``group`` or ``group@version``, the same of a dataset, a run's id, or ``model/version``.

    Raises
    ------
    FeatureError, NotFoundError
        If there is no such thing.
    """
    return _Walk(store, registry).around(kind, name)


class _Walk:
    def __init__(self, store: FeatureStore, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._nodes: dict[tuple[NodeKind, str], Node] = {}
        self._edges: dict[tuple[tuple[NodeKind, str], tuple[NodeKind, str]], Edge] = {}
        self._datasets = {dataset.full_name: dataset for dataset in store.catalog.datasets.outlines()}
        self._runs: dict[str, RunInfo] = {}
        self._made: dict[str, list[ModelVersion]] = {}

    def around(self, kind: NodeKind, name: str) -> Graph:
        focus = self._named(kind, name)
        is_cut = self._follow(focus, upwards=True) | self._follow(focus, upwards=False)
        edges = [edge for edge in self._edges.values() if edge.source in self._nodes and edge.target in self._nodes]
        return Graph(focus=(focus.kind, focus.name), nodes=tuple(self._nodes.values()), edges=tuple(edges), is_cut=is_cut)

    def _follow(self, focus: Node, *, upwards: bool) -> bool:
        """Add what is reached in one direction; return whether some was left out."""
        waiting, seen = deque([focus]), {(focus.kind, focus.name)}
        self._nodes[focus.kind, focus.name] = focus
        while waiting:
            node = waiting.popleft()
            for other, edge in self._sources_of(node) if upwards else self._uses_of(node):
                self._edges[edge.source, edge.target] = edge
                key = (other.kind, other.name)
                if key in seen:
                    continue
                if len(self._nodes) >= MOST_NODES:
                    return True
                seen.add(key)
                self._nodes.setdefault(key, other)
                waiting.append(other)
        return False

    def _sources_of(self, node: Node) -> Iterator[tuple[Node, Edge]]:
        key = (node.kind, node.name)
        if node.kind is NodeKind.MODEL and node.at is not None:
            model, _, version = node.name.rpartition("/")
            made_by = self._registry.version(model, version).run_id
            if made_by:
                run = self._run_node(made_by)
                yield run, Edge(source=(run.kind, run.name), target=key)
            return
        for each in self._inputs_of(node):
            source = self._input(each)
            yield source, Edge(source=(source.kind, source.name), target=key, features=each.features, commit=each.commit)

    def _inputs_of(self, node: Node) -> tuple[FeatureInput, ...]:
        if node.at is None:
            return ()
        if node.kind is NodeKind.DATASET:
            return self._datasets[node.name].sources
        return self._run(node.name).inputs if node.kind is NodeKind.RUN else ()

    def _uses_of(self, node: Node) -> Iterator[tuple[Node, Edge]]:
        key = (node.kind, node.name)
        if node.kind is NodeKind.RUN and node.at is not None:
            for version in self._made_by(self._run(node.name)):
                made = _model_node(version)
                yield made, Edge(source=key, target=(made.kind, made.name))
        if node.kind in (NodeKind.GROUP, NodeKind.DATASET):
            for dataset in self._datasets.values():
                for each in dataset.sources:
                    if _key_of(each) == key:
                        made = _dataset_node(dataset)
                        yield (
                            made,
                            Edge(source=key, target=(made.kind, made.name), features=each.features, commit=each.commit),
                        )
            readers = self._registry.runs_that_read([node.name], limit=MOST_NODES + 1)
            # all at once: a question for each would take seconds
            self._runs |= {info.run_id: info for info in readers}
            self._made |= self._registry.versions_by_runs(readers)
            for info in readers:
                for each in info.inputs:
                    if _key_of(each) == key:
                        run = _run_node(info)
                        yield run, Edge(source=key, target=(run.kind, run.name), features=each.features, commit=each.commit)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _named(self, kind: NodeKind, name: str) -> Node:
        if kind is NodeKind.GROUP:
            group = self._store.group(name)
            at = group.created_at.timestamp() if group.created_at else 0.0
            return Node(kind=kind, name=group.full_name, label=group.full_name, at=at)
        if kind is NodeKind.DATASET:
            return _dataset_node(self._store.dataset(name))
        if kind is NodeKind.RUN:
            return _run_node(self._registry.run(name))
        model, _, version = name.rpartition("/")
        return _model_node(self._registry.version(model or name, version if model else None))

    def _input(self, read: FeatureInput) -> Node:
        kind, name = _key_of(read)
        try:
            return self._named(kind, name)
        except FeatureError:
            # it was dropped; that it was read stays true
            return Node(kind=kind, name=name, label=name)

    def _run(self, run_id: str) -> RunInfo:
        if run_id not in self._runs:
            self._runs[run_id] = self._registry.run(run_id)
        return self._runs[run_id]

    def _made_by(self, info: RunInfo) -> list[ModelVersion]:
        if info.record_id not in self._made:
            self._made |= self._registry.versions_by_runs([info])
        return self._made[info.record_id]

    def _run_node(self, run_id: str) -> Node:
        try:
            return _run_node(self._run(run_id))
        except NotFoundError:
            return Node(kind=NodeKind.RUN, name=run_id, label=run_id[:8])


def _key_of(read: FeatureInput) -> tuple[NodeKind, str]:
    return NodeKind.GROUP if read.kind is InputKind.GROUP else NodeKind.DATASET, read.full_name


def _dataset_node(dataset: Dataset) -> Node:
    at = dataset.created_at.timestamp() if dataset.created_at else 0.0
    return Node(kind=NodeKind.DATASET, name=dataset.full_name, label=dataset.full_name, at=at)


def _run_node(info: RunInfo) -> Node:
    return Node(kind=NodeKind.RUN, name=info.run_id, label=info.name, at=info.created_at, state=info.state.value)


def _model_node(version: ModelVersion) -> Node:
    name = f"{version.name}/{version.version}"
    label = f"{version.name} version {version.version}"
    return Node(kind=NodeKind.MODEL, name=name, label=label, at=version.created_at)
