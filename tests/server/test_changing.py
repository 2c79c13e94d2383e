"""What is changed, put aside or written by the megabyte, on a home that may be changed at will."""

from __future__ import annotations

import pandas as pd
import pytest
from recorded_runs import START, epochs, finished, opened

from hops_magic.features.errors import FeatureError
from hops_magic.features.rules import Rule
from hops_magic.features.store import FeatureStore
from hops_magic.registry import open_registry
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState
from hops_magic.settings import FeatureSettings, Settings


@pytest.fixture(scope="module")
def store(changing_server):
    return FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(changing_server.home)}))


@pytest.fixture(scope="module")
def settings(changing_server):
    return Settings.from_environment({"HOPS_HOME": str(changing_server.home)})


def test_rows_that_were_put_aside_are_shown_in_pages(changing_server, store):
    store.save(pd.DataFrame({"id": range(2), "size": [1.0, 2.0]}), "shoes", key="id", on_fail="quarantine")
    store.edit("shoes", rules=[Rule.not_null("size")], on_fail="quarantine")
    assert changing_server.ask("/groups/shoes/quarantine").status_code == 400
    with pytest.raises(FeatureError):
        store.quarantined("shoes")
    store.save(pd.DataFrame({"id": range(2, 9), "size": [None] * 6 + [3.0]}), "shoes")
    assert changing_server.get("/groups/shoes/validation")["quarantined"] == 6
    page = changing_server.get("/groups/shoes/quarantine", limit=4, offset=3)
    assert (len(page["rows"]), page["total"]) == (3, 6)
    names = [column["name"] for column in page["columns"]]
    assert any("not_null size" in str(cell) for cell in page["rows"][0])
    assert {row[names.index("id")] for row in page["rows"]} <= set(range(2, 8))


def test_a_description_is_changed_with_those_of_columns(changing_server, store):
    store.save(pd.DataFrame({"id": [1], "size": [2]}), "hats", key="id", tags=["winter"])
    said = {"description": "hats by size", "column_descriptions": {"size": "in centimetres"}}
    answer = changing_server.ask("/groups/hats", "PATCH", json=said)
    assert (answer.status_code, answer.json()["description"]) == (200, "hats by size")
    hats = changing_server.get("/groups/hats")
    assert (hats["tags"], {each["name"]: each["description"] for each in hats["features"]}) == (
        ["winter"],
        {"id": "", "size": "in centimetres"},
    )
    wrong = changing_server.ask("/groups/hats", "PATCH", json={"column_descriptions": {"siez": "?"}})
    assert wrong.status_code in (400, 404)
    assert "siez" in wrong.json()["detail"]


def test_long_output_and_an_error_are_read_in_parts(changing_server, settings):
    text = "".join(f"line {number}: ä\n" for number in range(120_000))
    story = [
        ev.Output(rank=1, stream="stdout", text=text),
        ev.RankError(rank=1, name="ValueError", message="so", traceback="at"),
    ]
    finished(opened(settings, "eeee00000001", name="talkative"), "eeee00000001", story, RunState.FAILED)
    assert "rank 1: ValueError: so" in changing_server.get("/runs/talkative/error")["text"]
    assert changing_server.ask("/runs/talkative/output", params={"limit": 1_000_001}).status_code == 400
    read = ""
    for _ in range(2):
        part = changing_server.get("/runs/talkative/output", rank=1, offset=len(read), limit=1_000_000)
        assert (part["start"], part["total"]) == (len(read), len(text))
        read += part["text"]
    assert read == text
    last = changing_server.get("/runs/talkative/output", rank=1, limit=10)
    assert (last["text"], last["end"]) == (text[-10:], len(text))
    assert changing_server.get("/runs/talkative/output")["total"] == 0


def test_a_version_is_taken_out_of_the_registry(changing_server, settings, tmp_path):
    finished(opened(settings, "eeee00000002", name="maker", created_at=START), "eeee00000002", epochs(0.5))
    registry = open_registry(settings)
    (tmp_path / "model.keras").write_text("a model")
    for _ in range(2):
        registry.register("maker", "shapes", tmp_path / "model.keras")
    gone = changing_server.ask("/models/shapes/versions/1", "DELETE")
    assert (gone.status_code, gone.json()["version"], gone.json()["run_name"]) == (200, 1, "maker")
    assert [each["version"] for each in changing_server.get("/models/shapes/versions")["items"]] == [2]
    assert changing_server.ask("/models/shapes/versions/1", "DELETE").status_code == 404
