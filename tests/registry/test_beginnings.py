"""A writer that dies while a record begins leaves all that it would have written: it is written when somebody looks."""

import json
import socket
import stat

import pytest
from recorded_runs import START

from hops_magic.engine.journal import Journal
from hops_magic.reconciling import reconcile
from hops_magic.registry import STUDY_FILE, beginning, study_recorder
from hops_magic.registry.laid_down import FOLDER, left_behind
from hops_magic.registry.recorder import RecorderSpec
from hops_magic.registry.records import CapturedName, Commit, RunKind, RunRecord
from hops_magic.registry.registry import LOST_REASON
from hops_magic.registry.study_recorder import StudyRecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study

RUN, STUDY = "aaaa00000001", "0123456789ab"
READ = FeatureInput(kind=InputKind.GROUP, name="teams", version=1, commit=3, features=("town",))


class DiedError(BaseException):
    pass


def die(*_args, **_kwargs):
    raise DiedError


def of(kind, run_id):
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = {"address": f"tcp://127.0.0.1:{server.getsockname()[1]}", "is_local": True}
    return RunRecord(
        run_id=run_id,
        name="kept",
        experiment="e",
        source="x = 1",
        created_at=START,
        kind=kind,
        cluster=gone,
        options={"trials": 4, "workers": 2, "workers_per_trial": 1},
        params={"lr": 0.1},
        captured=(CapturedName(name="x", type="int"),),
        commit=Commit(commit="0f" * 20, is_dirty=False),
        inputs=(READ,),
    )


def spec_of(settings, kind):
    if kind is RunKind.RUN:
        return RecorderSpec(settings=settings, record=of(kind, RUN))
    study = Study(run_id=STUDY, name="kept", metric="score", direction=Direction.MAXIMIZE, trials_wanted=4)
    told = {"metric": "score", "direction": "maximize", "space": {"x": "uniform(0, 1)"}}
    return StudyRecorderSpec(settings=settings, record=of(kind, STUDY), beginning=study, description=told)


def log(settings, run_id, *events):
    journal = Journal(settings.runs / run_id)
    journal.write([ev.to_wire(event) for event in events])
    journal.close()


@pytest.mark.parametrize("step", ["_create", "_write_params", "write_inputs", "_write_files"])
@pytest.mark.parametrize("kind", [RunKind.RUN, RunKind.STUDY])
def test_what_a_dead_writer_left_is_recorded(settings, registry, monkeypatch, kind, step):
    spec = spec_of(settings, kind)
    with monkeypatch.context() as patch:
        patch.setattr(beginning, step, die)
        with pytest.raises(DiedError):
            spec(settings.runs / spec.record.run_id)
    assert [left.record for left in left_behind(settings.runs)] == [spec.record]
    assert reconcile(registry, None) == [spec.record.run_id]
    info = registry.run(spec.record.run_id)
    assert (info.kind, info.state, info.reason) == (kind, RunState.FAILED, LOST_REASON)
    assert (registry.text(info, "cell.py"), info.params["lr"], info.inputs) == ("x = 1", "0.1", (READ,))
    assert left_behind(settings.runs) == []
    assert reconcile(registry, None) == []


def test_trials_of_a_study_whose_record_had_hardly_begun_are_kept(settings, registry, monkeypatch):
    spec = spec_of(settings, RunKind.STUDY)
    with monkeypatch.context() as patch:
        patch.setattr(study_recorder, "keep_text", die)
        with pytest.raises(DiedError):
            spec(settings.runs / STUDY)
    log(
        settings,
        STUDY,
        ev.StateChanged(at=START, state=RunState.RUNNING),
        ev.TrialStarted(at=START + 1, trial=0, values={"x": 0.5}, point={"x": 0.5}, place="tcp://w"),
        ev.TrialReported(at=START + 2, trial=0, step=1, values={"score": 2.0}),
        ev.TrialEnded(at=START + 3, trial=0, state=TrialState.DONE, value=2.0, step=1),
    )
    assert reconcile(registry, None) == [STUDY]
    info = registry.run(STUDY)
    assert json.loads(registry.text(info, STUDY_FILE)) == spec.description
    assert [child.state for child in registry.children(info)] == [RunState.DONE]
    assert info.direction == "maximize"


def test_a_whole_record_leaves_nothing_behind_and_nobody_else_may_read_what_lies_there_meanwhile(settings, monkeypatch):
    seen = []

    def looked(*_args):
        seen.append([stat.S_IMODE(file.stat().st_mode) for file in (settings.home / FOLDER).iterdir()])
        return False

    monkeypatch.setattr(beginning, "_has_begun", looked)
    spec = spec_of(settings, RunKind.RUN)
    for _ in range(2):
        spec(settings.runs / RUN)
    assert seen == [[0o600]]
    assert list((settings.home / FOLDER).iterdir()) == []


def test_a_beginning_that_nobody_can_read_stops_nobody(settings, registry):
    folder = settings.home / FOLDER
    folder.mkdir()
    for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", '{"record": {"kind": "new"}}')):
        (folder / name).write_text(text)
    assert left_behind(settings.runs) == []
    assert reconcile(registry, None) == []


def test_where_nothing_can_be_laid_down_a_run_is_recorded_all_the_same(settings, registry):
    (settings.home / FOLDER).touch()
    spec_of(settings, RunKind.RUN)(settings.runs / RUN)
    assert registry.run(RUN).name == "kept"
