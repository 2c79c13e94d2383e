"""Registered models."""

import json
from pathlib import Path

import pytest
from recorded_runs import epochs

from hops_magic.errors import NotFoundError, UsageError
from hops_magic.runs import events as ev


class Model:
    """Saves itself as a Keras model does."""

    def __init__(self, weights):
        self.weights = weights

    def save(self, path):
        Path(path).write_text(json.dumps(self.weights))


def load(path):
    return json.loads(path.read_text())


@pytest.fixture
def runs(recorded):
    recorded("aaaa00000001", epochs(0.5, 0.4), name="first")
    recorded("aaaa00000002", epochs(0.5, 0.2), name="second")


def test_a_model_goes_from_a_run_to_versions_aliases_and_back(registry, runs):
    one = registry.register("first", "digits", model=Model([1]))
    two = registry.register("aaaa00000002", "digits", model=Model([2]))
    assert (one.version, one.run_id, one.metrics, one.flavour) == (1, "aaaa00000001", {"loss": 0.4}, "keras")
    assert two.version == 2
    registry.set_alias("digits", "champion", 1)
    registry.set_alias("digits", "newest", "2")
    (model,) = registry.models()
    assert (model.name, model.latest_version, model.aliases) == ("digits", 2, {"champion": 1, "newest": 2})
    assert [(v.version, v.aliases, v.run_name) for v in registry.versions("digits")] == [
        (2, ("newest",), "second"),
        (1, ("champion",), "first"),
    ]
    assert registry.load("digits", loader=load) == [2]
    assert registry.load("digits", "champion", loader=load) == [1]
    assert registry.load("digits", 1, loader=load) == [1]
    registry.set_alias("digits", "champion", "newest")
    assert registry.load("digits", "champion", loader=load) == [2]
    registry.delete_alias("digits", "newest")
    assert registry.version("digits", 2).aliases == ("champion",)


def test_a_model_that_the_record_has_needs_no_path(registry, runs, tmp_path):
    file = tmp_path / "model.keras"
    file.write_text("[3]")
    registry.register("first", "digits", file)
    assert registry.register("first", "again").size_bytes == 3
    assert registry.load("again", loader=load) == [3]


def test_the_last_checkpoint_serves_if_it_is_a_model(registry, recorded, tmp_path):
    checkpoint = tmp_path / "epoch-3.keras"
    checkpoint.write_text("[4]")
    recorded("aaaa00000003", [ev.Checkpointed(epoch=3, step=0, path=str(checkpoint))])
    registry.register("aaaa00000003", "digits")
    checkpoint.unlink()
    assert registry.load("digits", loader=load) == [4]


def test_versions_and_models_are_deleted(registry, runs):
    registry.register("first", "digits", model=Model([1]))
    registry.register("second", "digits", model=Model([2]))
    registry.delete_version("digits", 1)
    assert [version.version for version in registry.versions("digits")] == [2]
    with pytest.raises(NotFoundError, match="digits has no version or alias 1: it has 2"):
        registry.version("digits", 1)
    registry.delete_model("digits")
    assert registry.models() == []
    assert registry.run("first").name == "first"


def test_mistakes_get_one_sentence(registry, runs, tmp_path):
    registry.register("first", "digits", model=Model([1]))
    with pytest.raises(NotFoundError, match="there is no model 'digist': did you mean digits"):
        registry.versions("digist")
    with pytest.raises(NotFoundError, match='there is no model "x\'; --"'):
        registry.load("x'; --", loader=load)
    with pytest.raises(NotFoundError, match="run second left no model file in its record"):
        registry.register("second", "digits")
    with pytest.raises(NotFoundError, match="there is no model file"):
        registry.register("second", "digits", tmp_path / "missing.keras")
    with pytest.raises(NotFoundError, match="there is no run 'nobody'"):
        registry.register("nobody", "digits", model=Model([1]))
    with pytest.raises(NotFoundError, match="no alias nobody"):
        registry.delete_alias("digits", "nobody")
    for alias in ("latest", "v1", "1", "a b", "<img>"):
        with pytest.raises(UsageError, match="an alias must be a word"):
            registry.set_alias("digits", alias, 1)
    for name in ("a/b", "<img onerror=x>", "", "'", "x" * 300):
        with pytest.raises(UsageError, match="a model's name must be"):
            registry.register("first", name, model=Model([1]))
    registry.delete(["second"])
    with pytest.raises(UsageError, match="run second is deleted: %experiments restore aaaa00000002"):
        registry.register("second", "digits", model=Model([1]))


def test_a_version_outlives_the_list_entry_of_its_run(registry, runs):
    registry.register("first", "digits", model=Model([1]))
    registry.delete(["first"])
    assert registry.versions("digits")[0].metrics == {"loss": 0.4}
    assert registry.load("digits", loader=load) == [1]
