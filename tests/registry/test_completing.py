"""Records that could not be written, or whose writer died, are completed; what they lack until then is said."""

import resource
import socket
from types import SimpleNamespace

import pytest
from full_disk import full_disk
from recorded_runs import START, epochs, finished, opened
from waiting import wait_until

from hops_magic.api.run_rows import run_row
from hops_magic.engine.journal import Journal, last_state, read_journal
from hops_magic.errors import RegistryError, UsageError
from hops_magic.kept import KeptRun
from hops_magic.reconciling import reconcile
from hops_magic.registry import beginning, study_recorder
from hops_magic.registry import recorder as recorder_module
from hops_magic.registry.completing import complete, story_of
from hops_magic.registry.records import RunKind, RunRecord
from hops_magic.registry.registry import LOST_REASON
from hops_magic.registry.study_recorder import StudyRecorderSpec
from hops_magic.registry.writing import ending_lock
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, advance_study_all, recalled
from hops_magic.widgets.records import runs_table

RUN, STUDY = "aaaa00000001", "0123456789ab"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(recorder_module, "DRAIN_WITHIN_S", 0.0)


def gone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return {"address": f"tcp://127.0.0.1:{server.getsockname()[1]}", "is_local": True}


def log(settings, run_id, events):
    journal = Journal(settings.runs / run_id)
    journal.write([ev.to_wire(event) for event in events])
    journal.close()


def begun_study(settings, *, known=(), run_id=STUDY):
    record = RunRecord(
        run_id=run_id,
        name="kept",
        experiment="studies",
        source="x",
        created_at=START,
        kind=RunKind.STUDY,
        cluster=gone(),
        options={"workers_per_trial": 1, "trials": 4},
    )
    beginning = Study(run_id=run_id, name="kept", metric="score", direction=Direction.MINIMIZE, trials_wanted=4)
    description = {"name": "kept", "experiment": "studies", "metric": "score", "direction": "minimize"}
    spec = StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description=description)
    recorder = spec(settings.runs / run_id)
    recorder.events(list(known))
    return recorder, beginning


def trial(number, *values, end=TrialState.DONE):
    at = START + 10 * number
    events = [ev.TrialStarted(at=at, trial=number, values={"x": number}, point={"x": number}, place="tcp://w")]
    events += [ev.TrialReported(at=at + s, trial=number, step=s, values={"score": v}) for s, v in enumerate(values, 1)]
    if end is not None:
        events.append(ev.TrialEnded(at=at + 9, trial=number, state=end, value=values[-1], step=len(values)))
    return events


RUNNING = ev.StateChanged(at=START, state=RunState.RUNNING)
DONE = ev.StateChanged(at=START + 99, state=RunState.DONE)


def truth(study):
    return {
        f"kept-{t.number}": (t.state.value, t.value, dict(zip(t.curve.steps, t.curve.values, strict=True)), t.ended_at)
        for t in study.trials.values()
    }


def told(registry, run_id=STUDY):
    found = {}
    for child in registry.children(run_id):
        course = {step: value for step, value, _ in registry.metrics(child).get("score", ())}
        found[child.name] = (child.state.value, child.curve and child.curve.best, course, child.ended_at)
    return found


def test_a_study_that_ended_on_a_full_disk_is_completed_from_its_journal(settings, registry):
    events = [RUNNING, *trial(0, 3.0, 2.0), *trial(1, 5.0, 1.0), *trial(2, 4.0), DONE]
    recorder, beginning = begun_study(settings, known=[RUNNING])
    log(settings, STUDY, events)
    study = advance_study_all(beginning, events)
    with full_disk(settings):
        recorder.events(events)
        with pytest.raises(RegistryError, match="disk is full"):
            recorder.finish(study)
        assert reconcile(registry, None) == []
        info = registry.run(STUDY)
        assert (info.state, info.incomplete) == (RunState.DONE, "0 of 3 trials")
    assert reconcile(registry, None) == [STUDY]
    info = registry.run(STUDY)
    assert (info.state, info.reason, info.incomplete, info.ended_at) == (RunState.DONE, "", "", START + 99)
    assert (info.curve.best, info.metrics) == (1.0, {"best/score": 1.0})
    assert told(registry) == truth(study)
    assert reconcile(registry, None) == []
    assert registry.run("kept-1").params["x"] == "1"


def test_a_run_that_ended_on_a_full_disk_is_completed_and_until_then_says_what_it_lacks(settings, registry):
    recorder = opened(settings, RUN, cluster=gone())
    early, late = (
        epochs(*[1 / step for step in range(1, 121)]),
        epochs(*[2 / step for step in range(1, 181)], name="val_loss"),
    )
    output = ev.Output(rank=0, stream="stdout", text="hello\n")
    recorder.events([output, *early])
    wait_until(lambda: len(registry.metrics(RUN).get("loss", ())) == 120, "the first points' record")
    ended = ev.StateChanged(at=START + 999, state=RunState.DONE)
    log(settings, RUN, [RUNNING, output, *early, *late, ended])
    with full_disk(settings):
        with pytest.raises(RegistryError, match="180 values of metrics are only in"):
            finished(recorder, RUN, late)
        assert registry.run(RUN).state is RunState.SUBMITTED  # nobody has looked yet
        assert reconcile(registry, None) == []
        info = registry.run(RUN)
        assert (info.state, info.incomplete) == (RunState.DONE, "120 of 300 points")
        shown = runs_table([info]).text()
        assert "done, record incomplete" in shown
        assert f"the record of {RUN} is incomplete: 120 of 300 points" in shown
        row = run_row(SimpleNamespace(live=SimpleNamespace(summary=lambda run_id: None)), info)
        assert (row.state, row.reason) == ("done", "record incomplete: 120 of 300 points")
    assert reconcile(registry, None) == [RUN]
    info = registry.run(RUN)
    assert (info.state, info.incomplete, info.ended_at) == (RunState.DONE, "", START + 999)
    assert {name: len(points) for name, points in registry.metrics(info).items()} == {"loss": 120, "val_loss": 180}
    assert registry.output(info) == "hello\n"
    assert (info.curve.name, info.curve.last) == ("val_loss", 2 / 180)


def test_what_only_the_clusters_summary_knows_is_told_as_missing(settings, registry):
    opened(settings, RUN, cluster=gone())
    log(settings, RUN, [RUNNING, *epochs(3.0, 2.0)])  # the log ended early
    whole = [RUNNING, *epochs(3.0, 2.0, 1.0, 0.5), DONE]
    run = advance_all(Run(run_id=RUN, name=RUN, created_at=START), whole)
    info = registry.run(RUN)
    complete(registry, info, story_of(registry, info, run))
    info = registry.run(RUN)
    assert (info.state, info.ended_at, info.incomplete) == (RunState.DONE, START + 99, "2 of 4 points")
    assert "Record" in {row[0].text for row in _facts(info)}


def _facts(info):
    from hops_magic.widgets.records import run_page

    return run_page(info, source="", captured=()).parts[0].rows


def test_a_studys_trials_that_only_the_clusters_summary_knows_are_recorded_and_logged(settings, registry):
    _, beginning = begun_study(settings)
    whole = [RUNNING, *trial(0, 3.0, 2.0), *trial(1, 5.0, 4.5, 1.0), *trial(2, 7.0), DONE]
    log(settings, STUDY, [RUNNING, *trial(0, 3.0, 2.0), *trial(1, 5.0, end=None)])
    study = advance_study_all(beginning, whole)
    info = registry.run(STUDY)
    complete(registry, info, story_of(registry, info, study))
    assert told(registry) == truth(study)
    assert (registry.run(STUDY).state, registry.run(STUDY).incomplete) == (RunState.DONE, "")
    # whoever continues the study knows them too, and runs none of them again
    logged = recalled(beginning, registry.journal(registry.run(STUDY)))
    assert truth(logged) == truth(study)
    assert [t.point for t in logged.trials.values()] == [{"x": 0}, {"x": 1}, {"x": 2}]


def test_a_study_whose_cluster_died_keeps_its_finished_trials(settings, registry):
    events = [RUNNING, *trial(0, 3.0, 2.0), *trial(1, 5.0, end=None)]
    _, beginning = begun_study(settings)
    log(settings, STUDY, events)
    assert reconcile(registry, None) == [STUDY]
    info = registry.run(STUDY)
    assert (info.state, info.reason, info.curve.best) == (RunState.FAILED, LOST_REASON, 2.0)
    assert last_state(settings.runs / STUDY).reason == LOST_REASON
    done, cut = registry.children(info)
    assert (done.state, done.curve.best, cut.state, cut.reason) == (RunState.DONE, 2.0, RunState.FAILED, LOST_REASON)
    assert registry.metrics(cut)["score"] == [(1, 5.0, START + 11)]
    # who continues the study begins it again
    assert [t.state for t in recalled(beginning, registry.journal(info)).trials.values()] == [
        TrialState.DONE,
        TrialState.RUNNING,
    ]


def test_a_study_whose_cluster_died_after_its_last_trial_is_done_with_its_best_model(settings, registry):
    events = [RUNNING, *(event for number in range(4) for event in trial(number, 3.0 - number))]
    begun_study(settings)
    log(settings, STUDY, events)
    model = settings.runs / STUDY / "trials" / "3" / "model"
    model.mkdir(parents=True)
    (model / "model.keras").write_text("a model")
    assert reconcile(registry, None) == [STUDY]
    info = registry.run(STUDY)
    assert (info.state, info.reason, info.ended_at, info.curve.best) == (RunState.DONE, "", START + 39, 0.0)
    assert {child.state for child in registry.children(info)} == {RunState.DONE}
    assert registry.text(info, "model/model.keras") == "a model"
    # the log tells the same end
    assert last_state(settings.runs / STUDY) == ev.StateChanged(at=START + 39, state=RunState.DONE)


def test_output_of_a_trial_that_waited_for_room_is_in_a_record_that_somebody_else_completes(settings, registry):
    def printed(*lines):
        journal = Journal(settings.runs / STUDY / "trials" / "0")
        journal.write([ev.to_wire(ev.Output(rank=0, stream="stdout", text=f"{line}\n")) for line in lines])
        journal.close()

    printed("one")
    begun_study(settings, known=[RUNNING, *trial(0, 3.0, 2.0)])
    child = f"{STUDY}-0"
    wait_until(lambda: [each.state for each in registry.children(STUDY)] == [RunState.DONE], "the trial's end")
    assert registry.output(child) == "one\n"
    printed("two")
    log(settings, STUDY, [RUNNING, *trial(0, 3.0, 2.0), DONE])
    assert reconcile(registry, None) == [STUDY]
    assert registry.output(child) == "one\ntwo\n"


def test_one_process_at_a_time_completes_a_record(settings, registry):
    opened(settings, RUN, cluster=gone())
    log(settings, RUN, [RUNNING, *epochs(3.0), DONE])
    with ending_lock(settings.runs / RUN, 0):
        info = registry.run(RUN)
        with pytest.raises(RegistryError, match="somebody else writes the end"):
            complete(registry, info, story_of(registry, info))
    assert reconcile(registry, None) == [RUN]


def test_a_supervisors_own_end_comes_after_that_of_whoever_completed_the_record(settings, registry, monkeypatch):
    events = [RUNNING, *trial(0, 3.0, 2.0), *trial(1, 1.0), DONE]
    recorder, beginning = begun_study(settings)
    log(settings, STUDY, events)
    assert reconcile(registry, None) == [STUDY]
    recorder.events(events)
    recorder.finish(advance_study_all(beginning, events))
    assert [child.name for child in registry.children(STUDY)] == ["kept-0", "kept-1"]


def test_a_recorder_that_takes_over_writes_what_the_one_before_had_no_time_for(settings, registry, monkeypatch):
    monkeypatch.setattr(study_recorder, "RECORD_RUNNING_AFTER_S", 0.0)
    started, *reports, ended = trial(0, 3.0, 2.0, 1.0)
    begun_study(settings, known=[RUNNING, started, reports[0]])
    wait_until(lambda: registry.children(STUDY), "the record of the trial that runs")
    second, _ = begun_study(settings)
    second.recall([RUNNING, started, *reports, ended, *trial(1, 7.0, end=None)])
    # at once, not at the end of a study that may last for hours
    wait_until(lambda: len(told(registry)) == 2 and told(registry)["kept-0"][0] == "done", "the record of the trial's end")
    assert told(registry)["kept-0"] == ("done", 1.0, {1: 3.0, 2: 2.0, 3: 1.0}, START + 9)
    assert told(registry)["kept-1"][0] == "running"


def test_a_runs_recorder_that_takes_over_writes_each_point_and_line_once(settings, registry):
    first = opened(settings, RUN)
    line = ev.Output(rank=0, stream="stdout", text="one\n")
    first.events([line, *epochs(3.0, 2.0)])
    wait_until(lambda: len(registry.metrics(RUN).get("loss", ())) == 2, "the first points' record")
    second = opened(settings, RUN)
    more = ev.Output(rank=0, stream="stdout", text="two\n")
    second.recall([RUNNING, line, *epochs(3.0, 2.0, 1.5), more])
    finished(second, RUN, [*epochs(0.5, at=START + 10), ev.Output(rank=0, stream="stdout", text="three\n")])
    info = registry.run(RUN)
    from hops_magic.registry.bulk import points_of

    assert len(points_of(registry.store, info.record_id)) == 4
    assert info.curve.values == [3.0, 2.0, 1.5, 0.5]
    assert registry.output(info) == "one\ntwo\nthree\n"


def test_a_record_whose_beginning_failed_half_way_is_begun_again(settings, registry, monkeypatch):
    def fails(*_):
        raise OSError("no room")

    with monkeypatch.context() as full:
        full.setattr(beginning, "_write_files", fails)
        with pytest.raises(RegistryError, match="no room"):
            opened(settings, RUN, params={"lr": 0.1})
    # it is no end of the run's
    assert registry.run(RUN).state is RunState.SUBMITTED
    again = opened(settings, RUN, params={"lr": 0.1})
    again.recall([RUNNING, *epochs(3.0)])
    wait_until(lambda: registry.run(RUN).state is RunState.RUNNING, "the state that was said before")
    finished(again, RUN, epochs(2.0, at=START + 10))
    info = registry.run(RUN)
    assert (info.state, info.params["lr"], info.curve.values) == (RunState.DONE, "0.1", [3.0, 2.0])
    assert registry.source(info) == "model.fit(x, y)\n"
    assert len(registry.runs()) == 1


def test_points_that_did_not_wait_in_memory_come_from_the_journal(settings, registry, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_WAITING_ROWS", 10)
    points = epochs(*[float(step) for step in range(50)])
    log(settings, RUN, points)
    finished(opened(settings, RUN), RUN, points)
    assert len(registry.metrics(RUN)["loss"]) == 50


def test_points_that_no_log_has_are_told_as_lost(settings, registry, monkeypatch):
    monkeypatch.setattr(recorder_module, "MAX_WAITING_ROWS", 10)
    points = epochs(*[float(step) for step in range(50)])
    log(settings, RUN, points[:20])
    with pytest.raises(RegistryError, match="20 of 50 points of run aaaa00000001 are lost"):
        finished(opened(settings, RUN), RUN, points)
    assert (registry.run(RUN).state, registry.run(RUN).incomplete) == (RunState.DONE, "30 of 50 points")


def test_a_journal_waits_for_room_on_the_disk(tmp_path):
    journal, wires = Journal(tmp_path), [ev.to_wire(event) for event in epochs(*map(float, range(100)))]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        problems = [journal.write([wire]) for wire in wires[:60]]
        assert [problem for problem in problems if problem] == ["File too large"]
        assert journal.is_behind
        assert len(list(read_journal(tmp_path))) < 60
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.write(wires[60:]) == ""
    assert (journal.settle(), len(list(read_journal(tmp_path)))) == ("", 100)
    assert last_state(tmp_path) is None
    journal.write([ev.to_wire(RUNNING), ev.to_wire(DONE), ev.to_wire(ev.Warned(at=START, message='"kind": "state"'))])
    assert last_state(tmp_path) == DONE
    journal.close()


def test_a_run_on_a_cluster_that_is_out_of_reach_is_said_to_run_there(settings, registry):
    opened(settings, RUN, cluster={"address": "tcp://far:8786", "is_local": False})
    log(settings, RUN, [RUNNING, *epochs(3.0)])
    assert reconcile(registry, None) == []
    with pytest.raises(UsageError, match="still runs on tcp://far:8786: %cluster connect to it first"):
        KeptRun(registry, registry.run(RUN))
