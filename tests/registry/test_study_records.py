"""The record of a study knows which values are better, and says the same best as the study itself."""

import pytest
from waiting import wait_until

from hops_magic.registry.records import RunKind, RunRecord
from hops_magic.registry.study_recorder import StudyRecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, advance_study_all, table_of


def recorded_study(settings, events, *, metric="score", direction=Direction.MINIMIZE, run_id="0123456789ab"):
    """Record a study from start to end as its supervisor would."""
    record = RunRecord(
        run_id=run_id, name="aimed", experiment="studies", source="x", created_at=1.0, kind=RunKind.STUDY, user="ada"
    )
    beginning = Study(run_id=run_id, name="aimed", metric=metric, direction=direction, trials_wanted=3)
    recorder = StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description={})(
        settings.runs / run_id
    )
    story = [*events, ev.StateChanged(at=99.0, state=RunState.DONE)]
    recorder.events(story)
    study = advance_study_all(beginning, story)
    recorder.finish(study)
    return study


def trial(number, value, *, at, state=TrialState.DONE, step=None):
    return [
        ev.TrialStarted(at=2.0, trial=number, values={"x": number}, point={"x": number}),
        ev.TrialEnded(at=at, trial=number, state=state, value=value, step=step, reason="" if step is None else "median"),
    ]


@pytest.mark.parametrize(
    ("metric", "direction", "best"),
    [
        ("score", Direction.MINIMIZE, 0.0),
        ("score", Direction.MAXIMIZE, 2.0),
        ("error", Direction.MAXIMIZE, 2.0),  # whatever the name suggests
        ("f1 (macro)", Direction.MINIMIZE, 0.0),  # a name that MLflow does not take
    ],
)
def test_the_best_in_the_record_is_that_of_the_studys_direction(settings, registry, metric, direction, best):
    # the best of either direction ends last, and is not of the trial with the highest number
    values = {2: 1.0, 1: 2.0 - best, 0: best}
    events = [event for at, (number, value) in enumerate(values.items(), 10) for event in trial(number, value, at=float(at))]
    study = recorded_study(settings, events, metric=metric, direction=direction)
    info = registry.run(study.run_id)
    assert study.best.value == best
    assert info.metrics == {f"best/{metric}": best}
    assert (info.curve.name, info.curve.best, info.curve.last, info.direction) == (metric, best, best, direction.value)
    assert [(step, value) for step, value, _ in registry.metrics(info)[f"best/{metric}"]] == [(1, 1.0), (3, best)]
    trials = {child.name: (child.metrics, child.curve.best) for child in registry.children(info)}
    assert trials == {f"aimed-{number}": ({metric: value}, value) for number, value in values.items()}
    sort = metric if direction is Direction.MINIMIZE else f"-{metric}"
    assert registry.runs(parent=study.run_id, sort=sort, limit=1)[0].name == "aimed-0"


def test_where_no_trial_came_to_its_end_the_best_is_of_those_that_were_stopped(settings, registry):
    events = [
        event for n, value in enumerate((3.0, 1.0, 2.0)) for event in trial(n, value, at=9.0 + n, state=TrialState.STOPPED)
    ]
    study = recorded_study(settings, events)
    assert (study.best.number, registry.run(study.run_id).metrics) == (1, {"best/score": 1.0})


def test_a_trials_step_is_that_of_its_value(settings, registry):
    reports = [
        ev.TrialReported(at=3.0 + step, trial=0, step=step, values={"score": value})
        for step, value in ((1, 3), (2, 1), (3, 2))
    ]
    started, ended = trial(0, 1.0, at=9.0, step=2)
    study = recorded_study(settings, [started, *reports, ended])
    [row] = table_of(study)
    assert (row["score"], row["step"]) == (1.0, 2)
    [child] = registry.children(study.run_id)
    assert (child.curve.best, child.curve.last) == (1.0, 2.0)
    # its reports are all there, and the value, which is one of them, is not added to them
    assert [(step, value) for step, value, _ in registry.metrics(child)["score"]] == [(1, 3.0), (2, 1.0), (3, 2.0)]


def test_a_value_that_the_cell_returned_after_its_reports_is_the_last_of_its_trial(settings, registry):
    started, ended = trial(0, 0.25, at=9.0)
    report = ev.TrialReported(at=3.0, trial=0, step=4, values={"score": 0.75})
    study = recorded_study(settings, [started, report, ended])
    [child] = registry.children(study.run_id)
    assert child.metrics == {"score": 0.25}
    assert (child.curve.best, child.curve.values) == (0.25, [0.75])


def fitted(number, **values):
    return ev.TrialFitted(at=3.0, trial=number, values=values)


def test_what_a_trials_fits_were_called_with_is_recorded_beside_its_hyperparameters(settings, registry):
    events = [
        event
        for number in (0, 1)
        for started, ended in [trial(number, 1.0, at=9.0)]
        for event in (started, fitted(number, optimizer="Adam", epochs=3, x=7), ended)
    ]
    study = recorded_study(settings, events)
    params = {child.name: child.params for child in registry.children(study.run_id)}
    for number in (0, 1):
        found = params[f"aimed-{number}"]
        # one that is called like a hyperparameter does not take its place
        assert (found["x"], found["fit.x"]) == (str(number), "7")
        assert (found["optimizer"], found["epochs"]) == ("Adam", "3")


def test_a_fit_that_comes_after_its_trial_was_recorded_is_recorded_too(settings, registry):
    record = RunRecord(
        run_id="0123456789ab", name="aimed", experiment="studies", source="x", created_at=1.0, kind=RunKind.STUDY, user="ada"
    )
    beginning = Study(run_id=record.run_id, name="aimed", metric="score", direction=Direction.MINIMIZE, trials_wanted=1)
    recorder = StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description={})(
        settings.runs / record.run_id
    )
    started, ended = trial(0, 1.0, at=9.0)
    first = [started, fitted(0, epochs=3)]
    # it began long ago, so it is recorded while it runs
    recorder.events(first)
    wait_until(lambda: "epochs" in str([child.params for child in registry.children(record.run_id)]), "a record", 120)
    rest = [fitted(0, **{"fit2/epochs": 5}), ended, ev.StateChanged(at=99.0, state=RunState.DONE)]
    recorder.events(rest)
    recorder.finish(advance_study_all(beginning, [*first, *rest]))
    [child] = registry.children(record.run_id)
    assert {"epochs": "3", "fit2/epochs": "5"}.items() <= child.params.items()
