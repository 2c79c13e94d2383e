"""Verbs of modules: no submodule may have the name of one, for its import would put the module in the verb's place."""

import pkgutil

import pytest

import hops_magic
from hops_magic import experiments, features, models


@pytest.mark.parametrize(
    ("package", "verbs"),
    [
        (features, features.VERBS | features._HOMES.keys()),
        (hops_magic, {name for name, home in hops_magic._HOMES.items() if home is not None}),
        (experiments, set(getattr(experiments, "__all__", ()))),
        (models, set(getattr(models, "__all__", ()))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_submodule_has_the_name_of_a_verb(package, verbs):
    modules = {module.name for module in pkgutil.iter_modules(getattr(package, "__path__", []))}
    assert not modules & set(verbs)


def test_verbs_of_datasets_stay_verbs_once_the_store_was_used(store, monkeypatch):
    monkeypatch.setattr(features, "default_store", lambda: store)
    store.save({"id": [1], "a": [1]}, "g", key="id")
    features.create_dataset("d", features.request_of("g.a"))
    assert features.dataset("d").name == "d"
    assert [each.name for each in features.datasets()] == ["d"]
