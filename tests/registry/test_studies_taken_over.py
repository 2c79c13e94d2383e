"""Records of studies whose supervisor died: what it had begun to write is completed by the one that takes over."""

from waiting import wait_until

from hops_magic.registry import study_recorder
from hops_magic.registry.records import RunKind, RunRecord
from hops_magic.registry.study_recorder import StudyRecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, advance_study_all


def test_a_trial_that_ended_unrecorded_when_its_studys_supervisor_died_is_recorded_as_done(
    settings, registry, tmp_path, monkeypatch
):
    monkeypatch.setattr(study_recorder, "RECORD_RUNNING_AFTER_S", 0.0)
    record = RunRecord(
        run_id="0123456789ab", name="orphaned", experiment="studies", source="x", created_at=1.0, kind=RunKind.STUDY
    )
    beginning = Study(run_id=record.run_id, name="orphaned", metric="loss", trials_wanted=1)
    spec = StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description={})
    begun = [ev.TrialStarted(at=2.0, trial=0, values={"x": 1}, point={"x": 1})]
    spec(tmp_path).events(begun)
    [trial] = wait_until(lambda: registry.children(record.run_id), "the record of the trial that runs")
    assert trial.state is RunState.RUNNING
    # the first recorder's process is gone; the study's journal has told the second supervisor of the end
    ended = ev.TrialEnded(at=3.0, trial=0, state=TrialState.DONE, value=0.5)
    study = advance_study_all(beginning, [*begun, ended, ev.StateChanged(at=4.0, state=RunState.DONE)])
    spec(tmp_path).finish(study)
    [trial] = registry.children(record.run_id)
    assert (trial.state, trial.ended_at) == (RunState.DONE, 3.0)
