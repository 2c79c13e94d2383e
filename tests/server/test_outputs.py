"""What outputs of notebooks are told of their runs, and lists of runs that live."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from recorded_runs import opened

from hops_magic.api import endpoints
from hops_magic.api.context import Context
from hops_magic.api.leading import leading_of
from hops_magic.api.routing import answer
from hops_magic.engine.journal import Journal
from hops_magic.registry import STUDY_FILE
from hops_magic.registry.records import RunKind
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, advance_study_all

assert endpoints.__all__


@dataclass
class Following:
    """What follows a run on a cluster, here without one."""

    run: Run | Study
    is_connected: bool = True

    def wake(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Handle:
    run_id: str
    follower: Following = field(repr=False)


def ask(context: Context, path: str, **query: str) -> Any:
    return answer(context, "GET", path, {name: [value] for name, value in query.items()}, None)[0]


def lives(context: Context, run: Run | Study) -> Following:
    following = Following(run)
    context.live._handles[run.run_id] = Handle(run.run_id, following)  # type: ignore[assignment]
    return following


def running(run_id: str, **known: Any) -> Run:
    began = [ev.StateChanged(at=5.0, state=RunState.STARTING), ev.StateChanged(at=6.0, state=RunState.RUNNING)]
    return advance_all(Run(run_id=run_id, created_at=4.0, **known), began)


def test_an_output_learns_whether_its_run_is_known_and_gets_the_last_page(context: Context) -> None:
    assert ask(context, "/outputs/nobody") == {
        "is_known": False,
        "kind": None,
        "is_final": False,
        "is_heard": False,
        "data": {},
    }
    ended = ask(context, "/outputs/aaaa00000001")
    assert (ended["is_known"], ended["kind"], ended["is_final"]) == (True, "run", True)
    assert set(ended["data"]) == {"text/html", "text/plain"}
    assert "good" in ended["data"]["text/html"]
    assert "good: done" in ended["data"]["text/plain"]


def test_a_run_is_heard_while_the_connection_to_its_cluster_stands(context: Context) -> None:
    following = lives(context, running("bbbb00000001", name="here"))
    assert ask(context, "/outputs/bbbb00000001") == {
        "is_known": True,
        "kind": "run",
        "is_final": False,
        "is_heard": True,
        "data": {},
    }
    live = ask(context, "/runs/bbbb00000001/live")
    assert live["is_heard"]
    assert abs(live["news_at"] - time.time()) < 60
    following.is_connected = False
    live = ask(context, "/runs/bbbb00000001/live", cursor=live["cursor"])
    # nothing of it was written here either
    assert (live["is_heard"], live["news_at"], live["is_final"]) == (False, None, False)


def test_of_a_run_that_only_the_record_tells_the_last_news_are_those_of_its_journal(context: Context) -> None:
    settings = context.session.settings
    opened(settings, "cccc00000001", name="afar", cluster={"address": "tls://10.0.0.1:8786", "is_local": False})
    Journal(settings.runs / "cccc00000001").close()
    live = ask(context, "/runs/afar/live")
    written = (settings.runs / "cccc00000001" / "events.jsonl").stat().st_mtime
    assert (live["is_heard"], live["news_at"]) == (False, pytest.approx(written, abs=1e-3))
    assert ask(context, "/outputs/cccc00000001")["is_heard"] is False


@pytest.mark.parametrize("written", [None, '{"name": "sea'])
def test_a_study_whose_record_is_being_written_is_one_all_the_same(context: Context, written: str | None) -> None:
    opened(context.session.settings, "eeee00000001", name="search", kind=RunKind.STUDY)
    if written is not None:
        with context.registry.artifact(context.registry.run("search"), "") as folder:
            assert folder is not None
            (folder / STUDY_FILE).write_text(written)
    assert ask(context, "/outputs/eeee00000001")["kind"] == "study"
    assert ask(context, "/runs/search/live")["kind"] == "study"


@pytest.mark.parametrize("told", [{"is_ablation": True}, {}], ids=["said", "of an earlier version"])
def test_an_ablation_of_the_record_is_told_as_one(context: Context, told: dict[str, bool]) -> None:
    settings = context.session.settings
    opened(settings, "ffff00000001", name="worth", kind=RunKind.STUDY)
    description = {"name": "worth", "experiment": "digits", "metric": "loss", "direction": "minimize"}
    with context.registry.artifact(context.registry.run("worth"), "") as folder:
        assert folder is not None
        (folder / STUDY_FILE).write_text(json.dumps({**description, "names": [], "log_names": [], **told}))
    journal = Journal(settings.runs / "ffff00000001")
    for number, (left_out, value) in enumerate((("", 1.0), ("flag:norm", 1.5))):
        point = {"left_out": left_out, "repeat": 0}
        began = ev.TrialStarted(at=2.0, trial=number, values={**point, "left_out": left_out or "(base)"}, point=point)
        ended = ev.TrialEnded(at=3.0, trial=number, state=TrialState.DONE, value=value)
        journal.write([ev.to_wire(event) for event in (began, ended)])
    journal.close()
    (update,) = ask(context, "/runs/worth/live")["updates"]
    assert update["head"]["is_ablation"]
    assert update["head"]["names"] == ["left_out", "repeat"]
    assert [(each["component"], each["difference"]) for each in update["head"]["effects"]] == [("flag:norm", 0.5)]


def test_a_run_is_listed_before_it_has_a_record(context: Context) -> None:
    lives(context, running("bbbb00000001", name="begun", experiment="digits"))
    lives(context, Study(run_id="bbbb00000002", name="searching", metric="loss", created_at=9.0, state=RunState.QUEUED))
    first, second, recorded = ask(context, "/runs")["items"]
    assert (first["run_id"], first["kind"], first["state"]) == ("bbbb00000002", "study", "queued")
    assert (second["name"], second["can_stop"], recorded["name"]) == ("begun", True, "good")
    assert [run["name"] for run in ask(context, "/runs", limit="1")["items"]] == ["searching"]
    assert [run["name"] for run in ask(context, "/runs", text="SEARCH")["items"]] == ["searching"]
    assert [run["name"] for run in ask(context, "/runs", experiment="digits")["items"]] == ["begun", "good"]
    assert [run["name"] for run in ask(context, "/runs", state="queued")["items"]] == ["searching"]
    assert [run["name"] for run in ask(context, "/runs", offset="1")["items"]] == []
    opened(context.session.settings, "bbbb00000001", name="begun")
    assert [run["name"] for run in ask(context, "/runs")["items"]].count("begun") == 1


def test_a_run_that_lives_shows_the_course_of_its_leading_metric(context: Context) -> None:
    run = advance_all(
        running("bbbb00000001"),
        [
            ev.Metrics(at=7.0, rank=0, step=step, scope=scope, values=values)
            for step, scope, values in (
                (1, "batch", {"loss": 9.0}),
                (1, "epoch", {"accuracy": 0.1, "loss": 3.0}),
                (2, "epoch", {"accuracy": 0.2, "loss": 2.0}),
                (3, "epoch", {"accuracy": 0.3, "loss": 2.5}),
            )
        ],
    )
    lives(context, run)
    leading = ask(context, "/runs")["items"][0]["leading"]
    assert leading == {"name": "loss", "direction": "", "best": 2.0, "last": 2.5, "values": [3.0, 2.0, 2.5]}
    assert leading_of(running("bbbb00000002")) is None


def test_a_study_that_lives_shows_its_best_by_its_own_direction() -> None:
    study = Study(run_id="s", metric="loss", direction=Direction.MAXIMIZE, created_at=1.0)
    news: list[ev.Event] = []
    for number, value in enumerate((1.0, 3.0, 2.0)):
        news.append(ev.TrialStarted(at=2.0, trial=number, values={}, point={}, place="w"))
        news.append(ev.TrialEnded(at=3.0 + number, trial=number, state=TrialState.DONE, value=value))
    leading = leading_of(advance_study_all(study, news))
    assert leading is not None
    assert (leading.name, leading.best, leading.values) == ("loss", 3.0, [1.0, 3.0])
    assert leading_of(study) is None
