"""A group and a training dataset may have one name: what was made of each is told apart."""

from types import SimpleNamespace

import pytest

from hops_magic.features.errors import UnknownNameError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.lineage import uses_of
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.settings import FeatureSettings


def info(name, kind, of):
    read = FeatureInput(kind=kind, name=of, version=1, commit=0 if kind is InputKind.GROUP else None, features=("x",))
    return SimpleNamespace(run_id=name, name=name, inputs=(read,), created_at=0.0)


class Registry:
    """Runs that read the group ``a``, its namesake of a dataset, and the dataset ``of_a``."""

    infos = (
        info("one", InputKind.GROUP, "a"),
        info("two", InputKind.DATASET, "a"),
        info("three", InputKind.DATASET, "of_a"),
    )

    def runs_that_read(self, full_names):
        return [each for each in self.infos if each.inputs[0].full_name in full_names]

    def models(self):
        return []


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path)}))
    for name in ("a", "b"):
        store.save({"id": [1], "x": [1.0]}, name, key="id", statistics=False)
    store.create_dataset("a", request_of("b.x"), statistics=False)
    store.create_dataset("of_a", request_of("a.x"), statistics=False)
    return store


def told(name, store):
    return {use.name.split()[0] for use in uses_of(name, store, Registry())}


def test_a_dataset_of_the_name_of_a_group_is_another_origin(store):
    assert told("a.x", store) == {"of_a@1", "one", "three"}
    assert told("b.x", store) == {"a@1", "two"}
    assert told("of_a", store) == {"three"}
    # a name that means both
    assert told("a", store) == {"of_a@1", "one", "two", "three"}
    with pytest.raises(UnknownNameError, match="no version 'a@7': did you mean a@1"):
        told("a@7", store)
