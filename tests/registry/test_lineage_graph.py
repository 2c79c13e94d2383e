"""What the picture of lineage costs where much was made from one thing."""

import pandas as pd
import pytest
import sqlalchemy

from hops_magic import lineage_graph
from hops_magic.features.store import FeatureStore
from hops_magic.lineage_graph import NodeKind, graph_of
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.settings import FeatureSettings

READ = FeatureInput(kind=InputKind.GROUP, name="teams", version=1, commit=1, features=("wins",))


@pytest.fixture
def store(settings):
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(settings.home)}))
    store.save(pd.DataFrame({"team_id": [1], "wins": [2]}), "teams", key="team_id")
    return store


@pytest.fixture
def readers(recorded):
    """Record so many more runs that read the group."""
    numbers = iter(range(100))

    def more(count):
        for number, _ in zip(numbers, range(count), strict=False):
            recorded(f"aaaa000000{number:02}", name=f"run {number}", inputs=(READ,))

    return more


def test_readers_of_a_group_are_asked_for_together(registry, store, readers):
    statements = []
    engine = registry._store.client._tracking_client.store.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    costs = []
    for _ in range(2):
        readers(3)
        statements.clear()
        graph = graph_of(NodeKind.GROUP, "teams", store, registry)
        costs.append(len(statements))
    assert len(graph.nodes) == 7
    # the first asks for the experiments too
    assert costs[1] <= costs[0]


def test_no_more_readers_are_read_than_are_drawn(registry, store, readers, monkeypatch):
    monkeypatch.setattr(lineage_graph, "MOST_NODES", 4)
    readers(6)
    graph = graph_of(NodeKind.GROUP, "teams", store, registry)
    assert (len(graph.nodes), graph.is_cut) == (4, True)
    monkeypatch.setattr(lineage_graph, "MOST_NODES", 7)
    assert not graph_of(NodeKind.GROUP, "teams", store, registry).is_cut
