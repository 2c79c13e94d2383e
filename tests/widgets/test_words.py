from __future__ import annotations

import pytest

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance, advance_all
from hops_magic.runs.states import RunState
from hops_magic.widgets import words
from hops_magic.widgets.pace import Pace, Stopwatch

RUN = Run(run_id="run-1", name="digits", world_size=2)


def running(*events: ev.Event) -> Run:
    return advance_all(RUN, [ev.StateChanged(at=100.0, state=RunState.RUNNING), *events])


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (1, "waiting for 3 slots, 2 free, next in the queue"),
        (2, "waiting for 3 slots, 2 free, 2nd in the queue"),
        (13, "waiting for 3 slots, 2 free, 13th in the queue"),
    ],
)
def test_a_waiting_run_says_for_what(position: int, text: str) -> None:
    assert words.queue(advance_all(RUN, [ev.Queued(position=position, needed=3, free=2)])) == text


def test_a_running_run_is_where_its_slowest_rank_is() -> None:
    run = running(
        ev.Progress(rank=0, epoch=2, epochs=5, step=12, steps=40), ev.Progress(rank=1, epoch=2, epochs=5, step=9, steps=40)
    )
    assert words.progress(run) == "epoch 3/5, step 9/40"


def test_progress_after_the_last_epoch_of_an_unknown_number_and_of_other_phases() -> None:
    assert words.progress(running(ev.Progress(rank=0, epoch=5, epochs=5))) == "epoch 5/5"
    assert words.progress(running(ev.Progress(rank=0, step=7))) == "epoch 1, step 7"
    assert words.progress(running(ev.Progress(rank=0, phase="evaluate", step=3, steps=9))) == "evaluate, step 3/9"
    assert words.progress(RUN) == ""


def test_the_same_error_is_told_once_and_symptoms_not_at_all() -> None:
    errors = [
        ev.RankError(rank=rank, name="ValueError", message="bad", traceback=f"line of {rank}") for rank in (0, 1, 2, 5)
    ]
    symptom = ev.RankError(rank=4, name="PeerLostError", message="gone", traceback="", is_peer_loss=True)
    assert words.errors(running(symptom, *errors)) == [
        words.ErrorGroup(ranks="ranks 0-2, 5", headline="ValueError: bad", traceback="line of 0")
    ]
    assert [group.ranks for group in words.errors(running(symptom))] == ["rank 4"]


def test_losses_come_first_and_validation_follows_training() -> None:
    run = running(
        ev.Metrics(rank=0, step=1, scope="epoch", values={"val_accuracy": 1, "accuracy": 1, "val_loss": 1, "loss": 1})
    )
    assert list(words.latest_metrics(run)) == ["loss", "val_loss", "accuracy", "val_accuracy"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (1.5e-7, "1.500e-07"),
        (12345.6, "12,346"),
        (0.0, "0"),
        (float("nan"), "nan"),
        (-2.5e9, "-2.500e+09"),
    ],
)
def test_figures(value: float, text: str) -> None:
    assert words.figure(value) == text


def test_durations_and_amounts() -> None:
    assert [words.duration(s) for s in (5, 75, 3675, -1, None, float("inf"))] == ["0:05", "1:15", "1:01:15", "0:00", "", ""]
    assert [words.amount(b) for b in (512, 1_500_000, 3 << 30, None)] == ["512 B", "1.4 MiB", "3.0 GiB", ""]


class TestPace:
    def test_says_how_long_it_takes_from_what_it_took(self) -> None:
        pace = Pace()
        assert pace.remaining_s(0.0, 0.0) is None
        assert pace.remaining_s(10.0, 0.25) == pytest.approx(30.0)

    def test_says_nothing_too_early(self) -> None:
        pace = Pace()
        assert pace.remaining_s(0.0, 0.0) is None
        assert pace.remaining_s(0.5, 0.2) is None
        assert pace.remaining_s(50.0, 0.001) is None
        assert pace.remaining_s(60.0, None) is None

    def test_begins_anew_when_the_run_goes_back(self) -> None:
        pace = Pace()
        pace.remaining_s(0.0, 0.0)
        pace.remaining_s(10.0, 0.5)
        assert pace.remaining_s(20.0, 0.4) is None
        assert pace.remaining_s(26.0, 0.7) == pytest.approx(6.0)

    def test_counts_down_while_no_news_come(self) -> None:
        pace = Pace()
        pace.remaining_s(0.0, 0.0)
        told = [pace.remaining_s(now, 0.25) for now in (10.0, 15.0, 25.0, 39.0)]
        assert told == pytest.approx([30.0, 25.0, 15.0, 1.0])
        assert pace.remaining_s(41.0, 0.25) is None

    def test_epochs_with_long_validation_are_foreseen(self) -> None:
        pace, told = Pace(), []
        for tenth in range(1000):  # ten epochs of six seconds of steps and four of validation
            now = tenth / 10
            epoch, inside = divmod(now, 10.0)
            fraction = (epoch + min(1.0, inside / 6)) / 10
            told.append((now, pace.remaining_s(now, fraction, epoch=int(epoch), epochs=10)))
        late = [(now, left) for now, left in told if now >= 10.5 and left is not None]
        assert all(left == pytest.approx(100 - now, abs=0.5) for now, left in late)


class TestStopwatch:
    def test_never_goes_backwards(self) -> None:
        watch = Stopwatch()
        assert [watch.elapsed_s(100.0, None, now) for now in (99.0, 101.0, 100.5, 103.0)] == [0.0, 1.0, 1.0, 3.0]
        assert watch.elapsed_s(100.0, 102.5, 110.0) == 2.5


class TestSpeed:
    def finished(self, rank: int, epoch: int, speed: float, rows: float, seconds: float) -> ev.Progress:
        return ev.Progress(rank=rank, epoch=epoch, epochs=2, examples_per_s=speed, examples=rows, train_s=seconds)

    def test_an_epoch_keeps_its_own_while_the_next_begins(self) -> None:
        run = running(self.finished(0, 1, 70.0, 100, 1.4), self.finished(1, 1, 71.0, 100, 1.4))
        run = advance(run, ev.Progress(rank=0, epoch=1, epochs=2, step=1, examples_per_s=20.0))
        assert words.epoch_speed(run, 1, 1) == 141.0
        assert words.epoch_speed(run, 1, 2) is None

    def test_a_run_that_ended_has_that_of_its_whole_training(self) -> None:
        run = running(self.finished(0, 2, 70.0, 300, 2.0), self.finished(1, 2, 10.0, 300, 3.0))
        assert words.throughput(run) == 80.0
        assert words.throughput(advance(run, ev.StateChanged(state=RunState.DONE))) == 200.0
