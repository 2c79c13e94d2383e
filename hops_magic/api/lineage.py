"""What was made from what."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hops_magic.api.context import Context
from hops_magic.api.routing import Payload, table
from hops_magic.lineage_graph import NodeKind, graph_of


class LineageNode(Payload):
    """``id`` is ``kind:name``; ``name`` opens it; ``at`` is null for what is gone."""

    id: str
    kind: NodeKind
    name: str
    label: str
    at: float | None
    state: str


class LineageEdge(Payload):
    """``target`` was made from ``source``; both are ids of nodes."""

    source: str
    target: str
    features: list[str]
    commit: int | None


class LineageDocument(Payload):
    """All that something was made from, and all that was made from it; ``is_cut`` if there is more."""

    focus: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    is_cut: bool


@table.route("GET", "/lineage", tag="lineage", is_slow=True)
def show_lineage(
    context: Context,
    *,
    kind: NodeKind,
    name: Annotated[str, Field(min_length=1, max_length=500, description="teams@1, a run's id, or digits/3.")],
) -> LineageDocument:
    """Show what something was made from, and what was made from it."""
    graph = graph_of(kind, name, context.features, context.registry)
    return LineageDocument(
        focus=_id(graph.focus),
        nodes=[
            LineageNode(
                id=_id((node.kind, node.name)),
                kind=node.kind,
                name=node.name,
                label=node.label,
                at=node.at,
                state=node.state,
            )
            for node in graph.nodes
        ],
        edges=[
            LineageEdge(source=_id(edge.source), target=_id(edge.target), features=list(edge.features), commit=edge.commit)
            for edge in graph.edges
        ],
        is_cut=graph.is_cut,
    )


def _id(key: tuple[NodeKind, str]) -> str:
    return f"{key[0].value}:{key[1]}"
