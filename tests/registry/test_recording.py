"""What a run's supervisor writes is what a user reads."""

import json
import math
import pickle
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recorded_runs import START, epochs, finished, opened, wait_until

from hops_magic.errors import RegistryError
from hops_magic.registry import CapturedName, Commit, RunRecord, open_registry
from hops_magic.registry import recorder as recorder_module
from hops_magic.registry.recorder import RecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState
from hops_magic.settings import Settings


def test_a_run_is_recorded_with_all_that_made_it(settings, registry, recorded):
    events = [
        ev.RankStarted(at=START, rank=0, attempt=0, pid=1, worker="w", host="node-a"),
        *epochs(0.9, 0.5, 0.3),
        *epochs(1.0, 0.7, 0.8, name="val_loss"),
        *epochs(0.95, 0.6, scope="batch"),
        *epochs(3.0, name="lap", scope="user", rank=1),
        ev.Resources(at=START + 5, rank=1, cpu_percent=150.0, memory_bytes=1 << 30),
        ev.Output(rank=0, stream="stdout", text="hello "),
        ev.Output(rank=0, stream="stdout", text="wörld\n"),
        ev.Output(rank=1, stream="stderr", text="careful\n"),
        ev.Checkpointed(at=START, epoch=3, step=0, path="/runs/a/checkpoint"),
        ev.ResultReady(at=START, names=("model", "history"), size_bytes=5, left_behind={"f": "an open file"}),
    ]
    recorded(
        "aaaa00000001",
        events,
        name="In[3]-aaaa",
        source="model.fit(x, y)\n",
        notebook="/home/me/digits.ipynb",
        options={"workers": 2, "batch": "global", "timeout": None},
        params={"lr": 0.001},
        captured=(CapturedName(name="x", type="ndarray", size_bytes=800, content_hash="abc", how="with the program"),),
        commit=Commit(commit="f" * 40, is_dirty=True),
        cluster={"address": "tls://10.0.0.1:1", "workers": 2},
        seed=7,
        framework="keras",
        strategy="collective",
        user="ada",
    )

    run = registry.run("aaaa00000001")

    assert (run.name, run.experiment, run.state, run.user) == ("In[3]-aaaa", "digits", RunState.DONE, "ada")
    assert run.params.items() >= {"workers": "2", "lr": "0.001", "seed": "7", "strategy": "collective"}.items()
    assert run.metrics == {"loss": 0.3, "val_loss": 0.8, "batch/loss": 0.6, "lap/rank1": 3.0}
    assert (run.curve.name, run.curve.best, run.curve.values) == ("val_loss", 0.7, [1.0, 0.7, 0.8])
    assert run.duration_s == 60
    assert run.end["checkpoint"] == "/runs/a/checkpoint"
    assert run.end["names"] == ["model", "history"]
    assert run.facts["is_dirty"] is True
    assert run.facts["notebook"] == "/home/me/digits.ipynb"
    assert registry.metrics(run)["loss"] == [(1, 0.9, START + 1), (2, 0.5, START + 2), (3, 0.3, START + 3)]
    assert registry.metrics(run, ["system/rank1/cpu_percent"]) == {"system/rank1/cpu_percent": [(5, 150.0, START + 5)]}
    assert registry.source(run) == "model.fit(x, y)\n"
    assert registry.output(run) == "hello wörld\n"
    assert registry.output(run, 1) == "careful\n"
    assert registry.output(run, 2) == ""
    assert registry.captured(run)[0].content_hash == "abc"
    assert registry.environment(run)["packages"]["keras"]
    assert registry.options(run)["options"]["workers"] == 2


def test_mlflows_own_tools_see_runs_that_make_sense(settings, recorded):
    from mlflow import MlflowClient

    recorded(
        "aaaa00000001",
        [ev.RankError(rank=0, name="ValueError", message="no", traceback="Cell In[1]")],
        state=RunState.FAILED,
    )
    recorded("aaaa00000002", state=RunState.STOPPED)
    client = MlflowClient(settings.tracking_uri)
    found = {run.info.run_name: run for run in client.search_runs(["1"])}
    assert found["aaaa00000001"].info.status == "FAILED"
    assert found["aaaa00000002"].info.status == "KILLED"
    assert found["aaaa00000001"].info.end_time == int((START + 61) * 1000)
    artifacts = {item.path for item in client.list_artifacts(found["aaaa00000001"].info.run_id)}
    assert artifacts == {"cell.py", "captured.json", "environment.json", "options.json", "error.txt"}


def test_the_error_of_a_failed_run_is_kept(registry, recorded):
    error = ev.RankError(rank=1, name="ValueError", message="bad batch", traceback="Cell In[4], line 3")
    symptom = ev.RankError(rank=0, name="PeerLostError", message="gone", traceback="...", is_peer_loss=True)
    recorded("aaaa00000001", [symptom, error], state=RunState.FAILED)
    run = registry.run("aaaa00000001")
    assert (run.state, run.reason, run.end["error"]) == (RunState.FAILED, "because", "ValueError: bad batch")
    assert registry.error(run).startswith("rank 1: ValueError: bad batch\nCell In[4], line 3")


def test_the_journal_is_kept_whole(registry, settings, recorded):
    folder = settings.runs / "aaaa00000001"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text('{"kind": "warning", "message": "x"}\n')
    recorded("aaaa00000001")
    with registry.artifact(registry.run("aaaa00000001"), "events.jsonl") as journal:
        assert json.loads(journal.read_text())["message"] == "x"


def test_a_thousand_metric_events_a_second_are_kept_up_with_and_nothing_is_lost(settings, registry):
    recorder = opened(settings, "aaaa00000001")
    count, longest_s, began = 5_000, 0.0, time.monotonic()
    events = [
        ev.Metrics(at=START + i / 1000, rank=i % 4, step=i // 4, scope="user", values={"speed": i / 7}) for i in range(count)
    ]
    for first in range(0, count, 100):  # as the supervisor hands them on: each tenth of a second what has come
        asked = time.monotonic()
        recorder.events(events[first : first + 100])
        longest_s = max(longest_s, time.monotonic() - asked)
        wait_until(lambda due=began + first / 1000: time.monotonic() >= due)
    finished(recorder, "aaaa00000001", [])
    took_s = time.monotonic() - began
    metrics = registry.metrics("aaaa00000001", ["speed", "speed/rank1", "speed/rank2", "speed/rank3"])
    assert sorted(value for points in metrics.values() for _, value, _ in points) == [i / 7 for i in range(count)]
    assert longest_s < 0.5
    assert took_s < 15  # it keeps up: five seconds of events do not take minutes to write


def test_steps_that_a_restart_took_back_are_not_shown_twice(registry, recorded):
    again = [ev.Restarted(at=START + 10, attempt=1, reason="killed"), *epochs(0.9, 0.4, 0.2, at=START + 20)]
    recorded("aaaa00000001", [*epochs(0.9, 0.5), *again])
    run = registry.run("aaaa00000001")
    assert [(step, value) for step, value, _ in registry.metrics(run)["loss"]] == [(1, 0.9), (2, 0.4), (3, 0.2)]
    assert run.end["restarts"] == ["killed"]


def test_a_supervisor_that_takes_over_goes_on_with_the_same_record(settings, registry):
    first = opened(settings, "aaaa00000001")
    first.events(epochs(0.9))
    wait_until(lambda: "loss" in registry.run("aaaa00000001").metrics)
    second = opened(settings, "aaaa00000001")
    assert second.record_id == first.record_id
    finished(second, "aaaa00000001", epochs(0.9, 0.5)[1:])
    assert [value for _, value, _ in registry.metrics("aaaa00000001")["loss"]] == [0.9, 0.5]
    assert len(registry.runs()) == 1


def test_a_live_run_can_be_read(settings, registry):
    recorder = opened(settings, "aaaa00000001")
    assert registry.run("aaaa00000001").state is RunState.SUBMITTED
    recorder.events([ev.Queued(at=START, position=2, needed=2, free=0)])
    wait_until(lambda: registry.run("aaaa00000001").state is RunState.QUEUED)
    assert registry.run("aaaa00000001").reason == "place 2 in the queue"
    recorder.events([ev.StateChanged(at=START, state=RunState.RUNNING), ev.Output(rank=0, stream="stdout", text="hi\n")])
    wait_until(lambda: registry.run("aaaa00000001").state is RunState.RUNNING)
    wait_until(lambda: registry.output("aaaa00000001") == "hi\n")
    finished(recorder, "aaaa00000001", [])


def test_values_that_are_no_numbers_are_kept(registry, recorded):
    recorded("aaaa00000001", epochs(math.nan, math.inf, 0.5))
    values = [value for _, value, _ in registry.metrics("aaaa00000001")["loss"]]
    assert math.isnan(values[0])
    assert values[1] > 1e300
    assert values[2] == 0.5
    assert registry.run("aaaa00000001").curve.best == 0.5


def test_names_that_mlflow_refuses_are_kept_apart_and_shown_as_they_were(registry, recorded):
    names = [
        "<img src=x onerror=alert(1)>",
        "Genauigkeit äöü",
        "../../etc/passwd",
        "a;drop table runs",
        "%",
        "&",
        " loss",
        "x" * 300,
    ]
    recorded("aaaa00000001", [event for name in names for event in epochs(1.0, 2.0, name=name)])
    run = registry.run("aaaa00000001")
    assert {name[:100] for name in names} == set(run.metrics)
    assert [value for _, value, _ in registry.metrics(run, ["%"])["%"]] == [1.0, 2.0]


def test_a_fits_loss_and_a_users_own_loss_are_two_curves(registry, recorded):
    second_fit = [ev.Metrics(at=START, rank=0, step=1, scope="epoch", values={"loss": 7.0}, series=2)]
    recorded("aaaa00000001", [*epochs(0.5), *epochs(42.0, scope="user"), *second_fit])
    assert registry.run("aaaa00000001").metrics == {"loss": 0.5, "user/loss": 42.0, "fit2/loss": 7.0}


def test_long_values_are_cut_visibly_and_kept_whole_in_a_file(registry, recorded):
    prompt = "très long " * 1_000
    recorded("aaaa00000001", params={"prompt": prompt}, name="n" * 400, source="# " + "s" * 2_000_000)
    run = registry.run("aaaa00000001")
    assert "all of it in options.json" in run.params["prompt"]
    assert registry.options(run)["params"]["prompt"] == prompt
    assert run.name == "n" * 400
    assert len(registry.source(run)) == 2_000_002


def test_a_hyperparameter_goes_before_an_option_of_the_same_name(registry, recorded):
    recorded("aaaa00000001", options={"batch": "global"}, params={"batch": 32})
    assert registry.run("aaaa00000001").params.items() >= {"batch": "32", "option.batch": "global"}.items()


def test_trials_are_children_of_their_study(registry, recorded):
    recorded("bbbb00000000", name="search")
    recorded("bbbb00000001", name="trial-1", parent="bbbb00000000", params={"lr": 0.1})
    recorded("bbbb00000002", name="trial-2", parent="bbbb00000000", params={"lr": 0.2})
    children = registry.children("search")
    assert {child.name for child in children} == {"trial-1", "trial-2"}
    assert children[0].tags["mlflow.parentRunId"] == registry.run("search").record_id


def test_the_record_is_private_and_the_spec_travels(settings):
    record = RunRecord(run_id="a" * 12, name="n", experiment="e", source="", created_at=START)
    spec = pickle.loads(pickle.dumps(RecorderSpec(settings=settings, record=record)))
    assert spec.record == record
    for place in (settings.home, settings.database_file):
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0


def test_a_registry_that_goes_away_for_a_while_costs_nothing(postgres, tmp_path):
    settings = Settings.from_environment({"HOPS_HOME": str(tmp_path), "HOPS_TRACKING_URI": postgres.uri})
    recorder = opened(settings, "aaaa00000001", name="nul \x00 ümlaut", params={"p": "\x00"})
    recorder.events(epochs(0.9, 0.8))
    registry = open_registry(settings)
    wait_until(lambda: registry.run("aaaa00000001").metrics == {"loss": 0.8})
    postgres.stop()
    recorder.events(epochs(0.9, 0.8, 0.7)[2:])
    wait_until(lambda: recorder.problem is not None)
    assert "s3cret" not in str(recorder.problem)
    postgres.start()
    finished(recorder, "aaaa00000001", epochs(0.9, 0.8, 0.7, 0.6)[3:])
    assert [value for _, value, _ in registry.metrics("aaaa00000001")["loss"]] == [0.9, 0.8, 0.7, 0.6]
    assert registry.run("aaaa00000001").state is RunState.DONE
    assert registry.runs(text="ümlaut", filter="metrics.loss < 1", sort="-loss")
    assert registry.delete(["aaaa00000001"])
    assert [run.run_id for run in registry.restore()] == ["aaaa00000001"]
    # what is looked at for changes
    seen, models = registry.state(), registry.models_state()
    (tmp_path / "model.keras").write_text("a model")
    registry.register("aaaa00000001", "digits", tmp_path / "model.keras")
    assert registry.state() != seen
    assert registry.models_state() != models


def test_a_registry_that_stays_away_is_said_in_one_sentence(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "DRAIN_WITHIN_S", 1.0)
    settings = Settings.from_environment({"HOPS_HOME": str(tmp_path), "HOPS_TRACKING_URI": postgres.uri})
    recorder = opened(settings, "aaaa00000001")
    postgres.stop()
    with pytest.raises(RegistryError, match=r"1 values of metrics are only in .*events\.jsonl") as caught:
        finished(recorder, "aaaa00000001", epochs(0.5))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_is_said_in_one_sentence(settings):
    script = f"""
import resource, signal
from hops_magic.settings import Settings
from recorded_runs import opened, finished, epochs
from hops_magic.registry import recorder
recorder.DRAIN_WITHIN_S = 1.0
settings = Settings.from_environment({{"HOPS_HOME": {str(settings.home)!r}}})
recorder = opened(settings, "aaaa00000001")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    finished(recorder, "aaaa00000001", epochs(*range(5000)))
except Exception as error:
    print(type(error).__name__, error)
"""
    shared = Path(__file__).parents[1] / "shared"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=shared)
    assert done.stdout.startswith("RegistryError recording"), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


def test_parameters_of_fits_are_recorded_beside_options(recorded, registry):
    story = [
        ev.Parameters(at=START, values={"epochs": 3, "optimizer": "Adam", "batch": "mine"}),
        ev.Parameters(at=START, values={"epochs": 5}, series=2),
        # a restart says them again, with the state that it went on from
        ev.Parameters(at=START, values={"epochs": 3, "optimizer": "SGD"}),
    ]
    recorded("aaaa00000001", story, name="fits", options={"workers": 2, "batch": "global"})
    recorded("aaaa00000001", story[2:], name="fits", options={"workers": 2, "batch": "global"})
    params = registry.run("aaaa00000001").params
    assert params.items() >= {"epochs": "3", "optimizer": "Adam", "batch": "global", "fit.batch": "mine"}.items()
    assert params["fit2/epochs"] == "5"
    assert not {"fit.epochs", "fit.optimizer"} & set(params)
