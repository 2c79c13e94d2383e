"""What calls of ``hops.features`` say is wrong, in words of Python: no flag of a magic's line is left in it."""

import ast
import inspect
import pickle
from pathlib import Path

import pytest

from hops_magic import features
from hops_magic.features.errors import FeatureError, UnknownNameError
from hops_magic.features.python_words import _FLAGS, for_a_line, in_python, told_in_python
from hops_magic.features.store import FeatureStore


@pytest.fixture
def verbs(store, monkeypatch):
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
    told = {name for name in features._VERBS if getattr(features.FeatureStore, name) is not getattr(FeatureStore, name)}
    assert told == features._VERBS


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
