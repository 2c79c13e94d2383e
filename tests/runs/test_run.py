"""The summary of a run is a pure fold over its events."""

import pytest

from hops_magic.runs import events as ev
from hops_magic.runs.run import MAX_OUTPUT_CHARS, MAX_POINTS, Curve, Run, advance, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, advance_study

START = Run(run_id="r", world_size=2)

SAMPLES = [
    ev.StateChanged(at=1.0, state=RunState.RUNNING, reason="why"),
    ev.Queued(at=1.0, position=2, needed=3, free=1),
    ev.RankStarted(at=1.0, rank=1, attempt=0, pid=42, worker="tls://w", host="h", gpus=("3",)),
    ev.RankExited(at=1.0, rank=1, attempt=0, code=-9, reason="was killed"),
    ev.Progress(at=1.0, rank=0, epoch=1, epochs=5, step=2, steps=9, examples_per_s=10.5),
    ev.Metrics(at=1.0, rank=0, step=3, scope="epoch", values={"loss": 0.5}),
    ev.Output(at=1.0, rank=0, stream="stdout", text="héllo\n"),
    ev.Displayed(at=1.0, rank=0, data={"text/plain": "x"}, display_id="d"),
    ev.Cleared(at=1.0, rank=0),
    ev.Resources(at=1.0, rank=0, cpu_percent=99.0, memory_bytes=1 << 30),
    ev.Checkpointed(at=1.0, epoch=2, step=0, path="/c"),
    ev.Restarted(at=1.0, attempt=1, reason="lost"),
    ev.Warned(at=1.0, message="careful"),
    ev.Noted(at=1.0, message="checked"),
    ev.InputShared(at=1.0, way="deal", phase="fit"),
    ev.Parameters(at=1.0, values={"optimizer": "Adam", "epochs": 3}, series=2),
    ev.RankError(at=1.0, rank=0, name="ValueError", message="no", traceback="tb"),
    ev.ResultReady(at=1.0, names=("model",), size_bytes=10, left_behind={"f": "open file"}),
    ev.Returned(at=1.0, rank=0, values={"value": 0.5}),
    ev.FeaturesRead(at=1.0, rank=0, source="feature group", name="teams", version=2, commit=7, features=("town", "rain")),
]
STUDY_SAMPLES = [
    ev.Places(at=1.0, held=1, wanted=2),
    ev.TrialStarted(at=1.0, trial=3, values={"lr": 0.1}, point={"lr": 0.1}, attempt=1, place="tls://w", reason="lost"),
    ev.TrialFitted(at=1.0, trial=3, values={"optimizer": "Adam", "epochs": 3}),
    ev.TrialReported(at=1.0, trial=3, step=2, values={"loss": 0.5}, by_epoch=True),
    ev.TrialEnded(at=1.0, trial=3, state=TrialState.STOPPED, value=0.5, reason="median", error="tb"),
]


@pytest.mark.parametrize("event", [*SAMPLES, *STUDY_SAMPLES], ids=lambda event: event.kind)
def test_every_event_survives_the_wire(event):
    assert ev.from_wire(ev.to_wire(event)) == event
    assert ev.from_wire({**ev.to_wire(event), "said_by_a_later_version": [1]}) == event


def test_every_kind_of_event_is_in_the_samples_and_has_a_rule():
    assert {type(event) for event in [*SAMPLES, *STUDY_SAMPLES]} == set(ev.Event.__subclasses__())
    for event in SAMPLES:
        assert isinstance(advance(START, event), Run)
    for event in STUDY_SAMPLES:
        assert isinstance(advance_study(Study(run_id="s"), event), Study)


def test_a_final_state_is_final():
    done = advance_all(START, [ev.StateChanged(state=RunState.DONE, at=9.0)])
    later = advance(done, ev.StateChanged(state=RunState.RUNNING, at=10.0))
    assert later.state is RunState.DONE
    assert later.ended_at == 9.0


def test_late_output_still_reaches_the_summary():
    run = advance(START, ev.StateChanged(state=RunState.DONE))
    run = advance(run, ev.Output(rank=1, stream="stderr", text="last words"))
    assert run.ranks[1].output == (("stderr", "last words"),)


def test_the_exit_of_an_earlier_attempt_does_not_mark_the_new_rank_dead():
    run = advance(START, ev.Restarted(attempt=1, reason="lost"))
    run = advance(run, ev.RankStarted(rank=0, attempt=1, pid=7, worker="w", host="h"))
    run = advance(run, ev.RankExited(rank=0, attempt=0, code=-9))
    assert run.ranks[0].alive


def test_a_display_is_updated_in_place_and_taken_back_by_its_rank_alone():
    shown = [
        ev.Displayed(rank=0, data={"text/plain": "first"}, display_id="d"),
        ev.Displayed(rank=1, data={"text/plain": "of rank 1"}, display_id="d"),
        ev.Displayed(rank=0, data={"text/plain": "second"}),
        ev.Displayed(rank=0, data={"text/plain": "new"}, display_id="d"),
    ]
    run = advance_all(START, shown)
    assert [each.data["text/plain"] for each in run.displays] == ["new", "of rank 1", "second"]
    assert advance(run, ev.Cleared(rank=0)).displays == (shown[1],)


def test_output_keeps_the_newest_characters_and_its_streams_in_order():
    run = START
    for number in range(3):
        run = advance(run, ev.Output(rank=0, stream="stdout", text=str(number) * MAX_OUTPUT_CHARS))
    run = advance(run, ev.Output(rank=0, stream="stderr", text="end"))
    output = run.ranks[0].output
    assert sum(len(text) for _, text in output) == MAX_OUTPUT_CHARS
    assert output[-1] == ("stderr", "end")
    assert set(output[0][1]) == {"2"}


def test_a_curve_is_bounded_and_ends_with_the_newest_point():
    curve = Curve()
    for step in range(1, 10 * MAX_POINTS + 1):
        curve = curve.add(step, float(step))
        assert len(curve.steps) <= MAX_POINTS
        assert curve.steps[-1] == step
    assert curve.count == 10 * MAX_POINTS
    assert curve.steps[0] == 1
    assert list(curve.steps) == sorted(set(curve.steps))


def test_a_restart_replaces_the_points_that_it_repeats():
    curve = Curve()
    for step in (1, 2, 3, 4):
        curve = curve.add(step, 1.0)
    curve = curve.add(3, 9.0)
    assert (curve.steps, curve.values) == ((1, 2, 3), (1.0, 1.0, 9.0))


def test_progress_counts_finished_epochs_and_the_slowest_rank():
    run = advance(START, ev.Progress(rank=0, epoch=2, epochs=4, step=5, steps=10))
    run = advance(run, ev.Progress(rank=1, epoch=1, epochs=4, step=0, steps=10))
    assert run.fraction_done() == 0.25


@pytest.mark.parametrize(
    "event", [ev.StateChanged(at=2.0, state=RunState.RUNNING), ev.Queued(at=2.0, position=1, needed=1, free=0)]
)
def test_a_stop_that_was_asked_for_is_left_only_for_a_final_state(event):
    asked = ev.StateChanged(at=1.0, state=RunState.STOPPING, reason="stopped by the user")
    ended = ev.StateChanged(at=3.0, state=RunState.STOPPED, reason="stopped by the user")
    run = advance_all(START, [asked, event])
    assert (run.state, run.reason) == (RunState.STOPPING, "stopped by the user")
    assert advance(run, ended).state is RunState.STOPPED
    study = advance_study(advance_study(Study(run_id="s"), asked), event)
    assert study.state is RunState.STOPPING
    assert advance_study(study, ended).state is RunState.STOPPED


def test_metrics_folded_many_at_once_make_the_curves_of_one_after_the_other():
    steps = [*range(1, 2_500), *range(1_200, 4_000), 3_999, 5]  # with what a restart repeats
    said = [
        ev.Metrics(at=float(at), rank=at % 2, step=step, scope="user", values={"loss": 1 / step, "gain": step})
        for at, step in enumerate(steps)
    ]
    one_by_one = START
    for event in said:
        one_by_one = advance(one_by_one, event)
    assert advance_all(START, said) == one_by_one
