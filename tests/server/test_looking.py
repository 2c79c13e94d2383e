"""What changes without a message is noticed: by the thread that looks, and by nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from mlflow import MlflowClient
from recorded_runs import epochs, opened
from waiting import wait_until

from hops_magic.api import endpoints
from hops_magic.api.clusters import figures_of
from hops_magic.api.context import Context
from hops_magic.api.looking import Looker
from hops_magic.api.routing import answer
from hops_magic.engine import submit
from hops_magic.engine.journal import Journal
from hops_magic.registry import open_registry
from hops_magic.runs.events import to_wire
from hops_magic.runs.run import RankView
from hops_magic.runs.states import RunState
from hops_magic.runs.study import Study

assert endpoints.__all__


class Heard(list):
    """The topics of each change, in order."""

    def __init__(self, context: Context) -> None:
        context.changes.listen(lambda changed: self.append(changed.topics))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gone_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"tls://127.0.0.1:{listening.getsockname()[1]}"


def ask(context: Context, path: str, method: str = "GET", body=None, **query: str):
    return answer(context, method, path, {name: [value] for name, value in query.items()}, body)[0]


def test_a_run_whose_cluster_died_does_not_run_for_ever(context):
    opened(context.session.settings, "cccc00000001", name="left", cluster={"address": gone_address(), "is_local": True})
    heard = Heard(context)
    # a question changes nothing
    assert ask(context, "/runs", text="left")["items"][0]["state"] == "submitted"
    assert context.registry.run("left").state is RunState.SUBMITTED
    ask(context, "/changes")
    wait_until(lambda: ask(context, "/runs", text="left")["items"][0]["state"] == "failed", "the record's end")
    assert "cluster that ran it is gone" in ask(context, "/runs/left")["reason"]
    wait_until(lambda: ["run/cccc00000001", "runs"] in heard, "the news of it")


def test_a_run_of_another_machine_is_left_alone(context):
    recorder = opened(context.session.settings, "cccc00000002", cluster={"address": gone_address(), "is_local": True})
    registry, info = context.registry, context.registry.run("cccc00000002")
    with registry.artifact(info, "") as folder:
        (folder / "environment.json").write_text('{"host": "another"}')
    assert context.session.reconcile() == []
    assert registry.run("cccc00000002").state is RunState.SUBMITTED
    assert recorder is not None


def test_a_panel_that_asks_several_things_at_once_opens_the_registry_once(context):
    together = threading.Barrier(8)

    def opened_by_one(_: int) -> object:
        together.wait(30)
        return context.registry

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(opened_by_one, range(8)))) == 1


def test_records_are_closed_at_most_twice_a_minute(context):
    clock = Clock()
    looker = Looker(context, clock)
    looker.reconcile()
    opened(context.session.settings, "cccc00000003", name="left", cluster={"address": gone_address(), "is_local": True})
    clock.now = 29
    looker.reconcile()
    assert context.registry.run("left").state is RunState.SUBMITTED
    clock.now = 31
    looker.reconcile()
    assert context.registry.run("left").state is RunState.FAILED


def test_models_are_told_of_only_when_they_changed(context, tmp_path):
    clock = Clock()
    looker, heard, other = Looker(context, clock), Heard(context), open_registry(context.session.settings)
    looker.look()
    other.tag("good", "note", "one")
    looker.look()
    assert heard == [["runs"]]
    (tmp_path / "model.keras").write_text("a model")
    other.register("good", "digits", tmp_path / "model.keras")
    clock.now += 3
    looker.look()
    assert heard[1:] == [["models", "runs"]]
    for change in (
        lambda: other.set_alias("digits", "champion", 1),
        lambda: other.delete_alias("digits", "champion"),
        lambda: other.delete_version("digits", 1),
    ):
        change()
        clock.now += 3
        looker.look()
        assert "models" in heard[-1]


def test_lists_of_runs_are_told_every_two_seconds_at_most_and_in_the_end(context):
    clock = Clock()
    looker, heard, other = Looker(context, clock), Heard(context), open_registry(context.session.settings)
    looker.look()
    for second, note in enumerate(("one", "two", "three")):
        clock.now = second * 0.5
        other.tag("good", "note", note)
        looker.look()
    assert heard == [["runs"]]
    clock.now = 2.5
    looker.look()
    assert heard == [["runs"], ["runs"]]
    clock.now = 10
    looker.look()
    assert len(heard) == 2


def test_a_run_that_another_kernel_follows_is_told_of_as_its_journal_grows(context):
    settings = context.session.settings
    # on a cluster that this process does not use, and that may live
    opened(settings, "dddd00000001", name="afar", cluster={"address": "tls://10.0.0.1:8786", "is_local": False})
    journal = Journal(settings.runs / "dddd00000001")
    heard = Heard(context)
    looker = context.looker
    first = ask(context, "/runs/afar/live")
    assert not first["is_final"]
    context.looker.close()
    looker.look()
    heard.clear()
    journal.write([to_wire(event) for event in epochs(0.9, 0.7)])
    looker.look()
    assert "run/dddd00000001" in heard[0]
    (update,) = ask(context, "/runs/afar/live", cursor=first["cursor"])["updates"]
    assert update["curves"][0]["values"] == [0.9, 0.7]
    heard.clear()
    looker.look()
    assert heard == []


class Following:
    """What follows a study, here without a cluster: it says how it stands, and nothing more."""

    is_connected = True

    def __init__(self, study: Study) -> None:
        self.run = study

    def updates(self) -> Iterator[Study]:
        yield self.run

    def wake(self) -> None: ...

    def close(self) -> None: ...


def test_a_study_on_a_cluster_that_has_only_just_come_is_listed_at_the_next_look(context, monkeypatch):
    looker = Looker(context, Clock())
    # nothing runs, and a panel has seen that
    looker.look()
    heard = Heard(context)
    study = Study(run_id="bbbb00000001", name="searching", metric="loss", created_at=9.0, state=RunState.RUNNING)
    status = SimpleNamespace(address="tls://127.0.0.1:9", workers=(), runs=())
    come = SimpleNamespace(client=None, status=lambda: status)
    handle = SimpleNamespace(run_id=study.run_id, follower=Following(study))
    monkeypatch.setattr(context, "cluster", lambda: come)
    monkeypatch.setattr(submit, "live_runs", lambda _: [SimpleNamespace(run_id=study.run_id, is_final=False)])
    monkeypatch.setattr(submit, "attach", lambda *_: handle)
    looker.look()
    assert {"runs", "cluster"} <= {topic for topics in heard for topic in topics}
    first = ask(context, "/runs")["items"][0]
    assert (first["name"], first["kind"], first["state"]) == ("searching", "study", "running")


def test_deleting_and_restoring_is_told_to_the_pages_of_the_run(context):
    heard = Heard(context)
    ask(context, "/runs/good", "DELETE")
    ask(context, "/runs/aaaa00000001/restore", "POST")
    assert heard == [["run/aaaa00000001", "runs"]] * 2


def test_what_ranks_use_is_added_up_by_worker():
    ranks = [RankView(rank=0, cpu_percent=90.0, memory_bytes=2 << 30, gpu_percent=40.0), RankView(rank=1, cpu_percent=70.0)]
    used = figures_of(ranks)
    assert (used.ranks, used.cpu_percent, used.memory_bytes, used.gpu_percent) == (2, 160.0, 2 << 30, 40.0)
    assert figures_of([]).cpu_percent is None


def test_a_run_that_another_tool_recorded_has_its_curves(context):
    client = MlflowClient(context.session.settings.tracking_uri)
    foreign = client.create_run("0", run_name="by hand").info.run_id
    for step in range(3):
        client.log_metric(foreign, "loss", 1 / (1 + step), step=step)
    client.set_terminated(foreign)
    live = ask(context, f"/runs/{foreign}/live")
    (update,) = live["updates"]
    (curve,) = update["curves"]
    assert (update["head"]["state"], curve["metric"], curve["values"]) == ("done", "loss", [1.0, 0.5, 1 / 3])
