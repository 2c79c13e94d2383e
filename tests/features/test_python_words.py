"""What calls of ``hops.features`` say is wrong, in words of Python: no flag of a magic's line is left in it."""

import ast
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest

from hops_magic import features
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.python_words import _FLAGS, for_a_line, in_python, told_in_python
from hops_magic.features.store import FeatureStore, request_of


@pytest.fixture
def verbs(settings, monkeypatch):
    store = features.FeatureStore(settings)
    monkeypatch.setattr(features, "default_store", lambda: store)
    features.save({"id": [1], "v": [1]}, "g", key="id", statistics=False)
    features.save({"team": [1], "town": ["x"]}, "teams", key="team", statistics=False)
    return features


@pytest.mark.parametrize(
    ("verb", "words", "options", "said"),
    [
        ("save", ({"id": [1]}, "new"), {}, r"say key='COLUMN'; the columns are id"),
        (
            "save",
            ({"id": [1], "v": [1]}, "g"),
            {"mode": "create"},
            "say mode='append' or 'upsert' to add to it, or mode='version'",
        ),
        ("save", ({"id": [1], "v": [2], "w": [3]}, "g"), {}, "say evolve=True to accept that"),
        ("save", ({"id": [1], "v": [1]}, "g"), {"key": "v"}, "say mode='version' to begin a version with another key"),
        ("save", ({"id": [1]}, "new"), {"key": "idd"}, r"no column 'idd' in the data \(key\): did you mean id"),
        ("get", ("g.v",), {"keys": {"id": [1]}, "spine": {"id": [1]}}, "^keys and spine exclude each other"),
        ("get", ("g.v",), {"form": "pandas"}, "^form must be one of df, polars"),
        ("get", ("g.v", "teams.town"), {}, r"e.g. hops.features.edit\(\"g\", foreign_keys=\[\"COLUMN=teams.team\"\]\)"),
        ("get", (), {}, r"hops.features.get\(\"NAME\", ...\), and hops.features.search\(\"TEXT\"\) finds names"),
        ("group", ("qqq",), {}, r"there is no group 'qqq': hops.features.search\(\"TEXT\"\) finds names"),
    ],
)
def test_an_error_names_keywords(verbs, verb, words, options, said):
    with pytest.raises(FeatureError, match=said) as caught:
        getattr(verbs, verb)(*words, **options)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_same_error_names_flags_where_a_line_is_read(verbs, store):
    with pytest.raises(FeatureError, match="say --key COLUMN"):
        store.save({"id": [1]}, "new")
    with pytest.raises(UnknownNameError, match="%features search TEXT finds names"):
        store.group("qqq")


def test_a_store_that_python_code_opens_names_keywords_too(settings):
    store = features.FeatureStore(settings)
    with pytest.raises(FeatureError, match="say key='COLUMN'"):
        store.save({"id": [1]}, "new")
    with pytest.raises(UnknownNameError, match=r"hops.features.search\(\"TEXT\"\) finds names"):
        store.group("qqq")
    with for_a_line(), pytest.raises(FeatureError, match="say --key COLUMN"):
        store.save({"id": [1]}, "new")
    told = {name for name in features.VERBS if getattr(features.FeatureStore, name) is not getattr(FeatureStore, name)}
    assert told == features.VERBS


def test_what_users_named_stays_as_it_is():
    assert in_python("there is no '--verbose' and no --keystore, say --evolve") == (
        "there is no '--verbose' and no --keystore, say evolve=True"
    )


def test_every_flag_that_a_message_of_the_store_names_is_known():
    """Sentences are found in the sources: constants with a flag in them, but for docstrings and what is of CSV files."""
    of_files = {"quoted-text", "nulls"}
    for file in Path(inspect.getfile(features)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                for word in node.value.replace("'", " ").replace("(", " ").split():
                    name = word.removeprefix("--").rstrip(".,:;)`")
                    if word.startswith("--") and name and name not in of_files:
                        assert name in _FLAGS, f"{file.name}: {node.value}"


def test_a_verb_keeps_its_signature(verbs, store):
    assert inspect.signature(verbs.get) == inspect.signature(store.get)
    assert told_in_python(store.get).__doc__ == store.get.__doc__


@pytest.mark.parametrize(
    ("verb", "words", "options", "said"),
    [
        ("get", (["g.v"],), {}, r"get: each of names must be a text of its own, got \['g.v'\]"),
        ("get", ("g.v",), {"limit": "1"}, "get: limit must be a whole number or None, got '1'"),
        ("get", ("g.v",), {"limit": 1.5}, "get: limit must be a whole number or None, got 1.5"),
        ("get", ("g.v",), {"event_time": ["ts"]}, "get: event_time must be a text or None"),
        ("get", ("g.v",), {"allow_fanout": "no"}, "get: allow_fanout must be True or False, got 'no'"),
        ("save", ({0: [1]}, "new"), {"key": 0}, "save: key must be a list of texts or a text, got 0"),
        ("save", ({"id": [1]}, None), {"key": "id"}, "save: group must be a text, got None"),
        ("edit", ("g",), {"rules": ["not_null v"]}, "edit: rules must be a list of hops.features.Rule or None"),
        ("edit", ("g",), {"description": 5}, "edit: description must be a text or None, got 5"),
        ("create_dataset", ("d", "g.v"), {}, r"request must be what hops.features.request_of\(...\) returns, got 'g.v'"),
        ("create_dataset", ("d", request_of("g.v")), {"seed": "x"}, "seed must be a whole number, got 'x'"),
        ("create_dataset", ("d", request_of("g.v")), {"split": {0: 0.5, 1: 0.5}}, "a split is named with letters, .* got 0"),
    ],
)
def test_an_argument_of_another_type_is_told_by_its_name(verbs, verb, words, options, said):
    with pytest.raises(FeatureError, match=said):
        getattr(verbs, verb)(*words, **options)


def test_arguments_of_other_libraries_and_texts_for_lists_are_taken(verbs):
    assert len(verbs.get("g.v", limit=np.int64(1), allow_fanout=np.bool_(False))) == 1
    assert verbs.edit("g", tags="a, b", foreign_keys="v=teams.team").tags == ("a", "b")
    assert verbs.group("g").foreign_keys[0].group == "teams"
    shares = {"train": np.float32(0.8), "test": np.float32(0.2)}
    verbs.save({"id": range(10), "v": range(10)}, "g", statistics=False)
    assert verbs.create_dataset("d", verbs.request_of("g.v"), split=shares).rows == {"train": 8, "test": 2}
