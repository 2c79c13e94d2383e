"""Studies in text, in saved pages and on the wire: nothing is lost, nothing is markup, nothing is sent twice."""

import ast
import io
import random
from dataclasses import replace

import pytest

from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, advance_study_all
from hops_magic.widgets import study_words
from hops_magic.widgets.study_notebook import best_as_code
from hops_magic.widgets.study_rendering import study_html
from hops_magic.widgets.study_text import StudyLinePainter, StudyTerminalPainter, status_line, study_text
from hops_magic.widgets.study_wire import StudyFeed, opened_trial

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


def batches(count=30, reports=6, seed=0):
    """What a study says, in batches."""
    random.seed(seed)
    yield [ev.StateChanged(at=1.0, state=RunState.RUNNING), ev.Places(at=1.0, held=2, wanted=2)]
    for number in range(count):
        values = {"lr": random.random(), "kind": random.choice(["a", "b"])}
        yield [ev.TrialStarted(at=2.0 + number, trial=number, values=values, point=values)]
        for step in range(1, reports + 1):
            at = 2.0 + number + step / 100
            yield [ev.TrialReported(at=at, trial=number, step=step, values={"loss": values["lr"] + 1 / step})]
        state = [TrialState.DONE, TrialState.DONE, TrialState.STOPPED, TrialState.FAILED][number % 4]
        value = None if state is TrialState.FAILED else values["lr"] + 1 / reports
        reason = "" if state is TrialState.DONE else f"because {number % 8}"
        yield [ev.TrialEnded(at=3.0 + number, trial=number, state=state, value=value, reason=reason)]


def beginning(**changes):
    known = {"run_id": "s", "name": "tuned", "metric": "loss", "trials_wanted": 30, "names": ("lr", "kind")}
    return Study(**known | changes)


def ended():
    study = beginning()
    for batch in batches():
        study = advance_study_all(study, batch)
    return advance_study_all(study, [ev.StateChanged(at=99.0, state=RunState.DONE)])


class Browser:
    """Folds updates as ``labextension/src/study.ts`` does."""

    def __init__(self):
        self.head, self.trials, self.curves, self.sent = {}, {}, {}, 0

    def take(self, update):
        self.head |= update["head"]
        for row in update.get("trials", ()):
            self.trials[row["number"]] = row
        for part in update.get("curves", ()):
            known = self.curves.get(part["trial"], [])
            self.curves[part["trial"]] = known[: part["at"]] + list(zip(part["steps"], part["values"], strict=True))
            self.sent += len(part["steps"])


@pytest.mark.parametrize("every", [1, 3, 50])
def test_updates_fold_to_the_study_whatever_the_pace(every):
    study, feed, browser = beginning(), StudyFeed(), Browser()
    for number, batch in enumerate(batches()):
        study = advance_study_all(study, batch)
        if number % every == 0:
            while update := feed.next(study, now=5.0, extra={}):
                browser.take(update)
    while update := feed.next(study, now=5.0, extra={}):
        browser.take(update)
    assert feed.next(study, now=5.0, extra={}) is None
    assert {n: row["state"] for n, row in browser.trials.items()} == {n: t.state.value for n, t in study.trials.items()}
    for number, trial in study.trials.items():
        assert browser.curves[number] == list(zip(trial.curve.steps, trial.curve.values, strict=True))
    assert browser.head["counts"] == {state.value: count for state, count in study.counts.items()}
    # a point is sent once, but for the last of each curve, which may be sent again
    assert browser.sent <= 2 * sum(len(t.curve.steps) for t in study.trials.values())


def test_a_reset_tells_everything_again():
    feed, study = StudyFeed(), ended()
    first = feed.next(study, now=1.0, extra={})
    feed.reset()
    assert feed.next(study, now=1.0, extra={}) == first


def test_a_large_study_comes_in_parts():
    study = beginning()
    for batch in batches(1200, 1):
        study = advance_study_all(study, batch)
    feed, sizes = StudyFeed(), []
    while update := feed.next(study, now=1.0, extra={}):
        sizes.append(len(update["trials"]))
    assert sizes == [500, 500, 200]


def test_the_page_has_the_best_the_counts_and_pictures():
    html = study_html(ended(), now=100.0, importance={"lr": 0.9, "kind": 0.1})
    assert "30 of 30 trials, 7 stopped early, 7 failed" in html
    assert "best loss" in html
    assert html.count("data:image/png") == 2
    assert "90%" in html
    assert "The best 10 of 30 trials" in html
    assert "<script" not in html


def test_names_and_messages_are_text():
    study = advance_study_all(
        beginning(name=HOSTILE, metric=HOSTILE, names=(HOSTILE,)),
        [
            ev.TrialStarted(at=1.0, trial=0, values={HOSTILE: HOSTILE}),
            ev.TrialEnded(at=2.0, trial=0, state=TrialState.FAILED, reason=HOSTILE, error=HOSTILE),
            ev.TrialStarted(at=1.0, trial=1, values={HOSTILE: HOSTILE}),
            ev.TrialEnded(at=2.0, trial=1, state=TrialState.DONE, value=1.0),
            ev.Warned(message=HOSTILE),
        ],
    )
    html = study_html(study, now=3.0)
    assert "<img src=x" not in html
    assert "\x1b" not in html + study_text(study) + status_line(study, 3.0)


def test_a_terminal_line_rewrites_itself_and_new_bests_scroll():
    out = io.StringIO()
    painter = StudyTerminalPainter(out, clock=lambda: 60.0, columns=lambda: 200)
    study = beginning()
    for batch in batches():
        study = advance_study_all(study, batch)
        painter.paint(study)
    painter.finish(study)
    last = out.getvalue().rsplit("\r", 1)[1]
    assert "30 of 30 trials, 7 stopped early, 7 failed" in last
    bests = [line for line in out.getvalue().split("\n") if "best loss" in line and "lr=" in line]
    assert len(bests) == len({line.rsplit("in trial ", 1)[1].split(",")[0] for line in bests})


def test_lines_in_a_file_tell_states_and_bests_once():
    out = io.StringIO()
    painter = StudyLinePainter(out, clock=lambda: 60.0)
    study = beginning()
    for batch in batches():
        study = advance_study_all(study, batch)
        painter.paint(study)
    painter.finish(advance_study_all(study, [ev.StateChanged(at=99.0, state=RunState.DONE)]))
    lines = out.getvalue().splitlines()
    assert lines.count("tuned: running") == 1
    assert any(line.startswith("tuned: done  30 of 30 trials") for line in lines)
    assert any("trials 3, 11, 19, 27 failed: because 3" in line for line in lines)


def test_the_best_as_code_sets_the_variables():
    study = ended()
    namespace = {}
    exec(best_as_code(study), namespace)
    assert {name: namespace[name] for name in ("lr", "kind")} == study.best.values
    assert best_as_code(beginning()) == ""


def test_names_of_others_set_nothing_but_variables():
    evil = "x\nimport os\r\u2028\u202e\x00"
    beginning = Study(run_id="s", name=f"search {evil}", metric=f"loss {evil}", names=("lr", evil))
    story = [
        ev.TrialStarted(trial=0, values={"lr": evil, evil: evil, "net": evil}, point={}),
        ev.TrialEnded(trial=0, state=TrialState.DONE, value=1.0),
    ]
    code = best_as_code(replace(advance_study_all(beginning, story), object_names=("net",)))
    assert [type(each) for each in ast.parse(code).body] == [ast.Assign]
    namespace = {}
    exec(code, namespace)
    assert namespace.keys() - {"__builtins__"} == {"lr"}
    assert "\u202e" not in code


def test_the_best_is_told_with_the_time_at_which_it_was_found():
    story = [
        ev.TrialStarted(at=10.0, trial=0, values={"lr": 0.1}, point={}),
        ev.TrialEnded(at=85.0, trial=0, state=TrialState.DONE, value=0.5),
    ]
    study = advance_study_all(Study(run_id="s", name="s", metric="loss", names=("lr",)), story)
    assert "best loss 0.5 in trial 0, after 1:15" in study_text(study)
    assert "after 1:15" in study_html(study, now=90.0, report_html="", importance={})


def test_the_best_as_code_names_functions_and_says_what_it_cannot_set():
    beginning = Study(run_id="s", metric="loss", names=("act", "net"), object_names=("act", "net"))
    story = [
        ev.TrialStarted(trial=0, values={"act": "swish", "net": {"f": "<lambda>"}}, point={}),
        ev.TrialEnded(trial=0, state=TrialState.DONE, value=1.0),
    ]
    lines = best_as_code(advance_study_all(beginning, story)).splitlines()
    assert lines[1] == "act = swish"
    assert lines[2].startswith("# net was {'f': '<lambda>'}, which only the notebook")


def test_an_ablation_shows_what_each_component_is_worth():
    study = beginning(is_ablation=True, direction=Direction.MAXIMIZE, metric="score", names=("left_out", "repeat"))
    events = []
    for number, (left_out, repeat, value) in enumerate(
        [("", 0, 1.0), ("", 1, 1.2), ("layer:bn", 0, 0.5), ("layer:bn", 1, 0.8), ("flag:f", 0, 1.0)]
    ):
        point = {"left_out": left_out, "repeat": repeat}
        events.append(ev.TrialStarted(at=1.0, trial=number, values=point, point=point))
        events.append(ev.TrialEnded(at=2.0, trial=number, state=TrialState.DONE, value=value))
    study = advance_study_all(study, events)
    assert "layer:bn" in study_text(study)
    html = study_html(study, now=3.0)
    assert "-0.45 [" in html
    assert html.index("layer:bn") < html.index("flag:f")
    assert "bars of the differences" in html
    head = StudyFeed().next(study, now=3.0, extra={})["head"]
    assert [effect["component"] for effect in head["effects"]] == ["layer:bn", "flag:f"]


def test_an_opened_trial_without_a_word_is_empty():
    assert opened_trial(0, ended(), None) == {"type": "trial", "trial": 0, "curves": [], "output": [], "error": ""}


def test_an_opened_trial_tells_what_its_fits_were_called_with():
    said = ev.TrialFitted(trial=0, values={"optimizer": "Adam", "epochs": 3})
    study = advance_study_all(beginning(), [started(0, 1.0), said])
    assert opened_trial(0, study, None)["parameters"] == {"optimizer": "Adam", "epochs": "3"}


def test_steps_are_epochs_where_all_trials_say_so_and_curves_have_times():
    said = [
        event
        for number, by_epoch in enumerate((True, True, False))
        for event in (
            started(number, 1.0),
            ev.TrialReported(at=3.5, trial=number, step=1, values={"loss": 0.75, "accuracy": 0.5}, by_epoch=by_epoch),
            done(number, 5.0),
        )
    ]
    study = advance_study_all(beginning(), said[:6])
    update = StudyFeed().next(study, now=6.0, extra={})
    assert update["head"]["step_name"] == "epoch"
    assert update["head"]["metrics"] == ["accuracy"]
    assert update["trials"][0]["metrics"] == {"loss": 0.75, "accuracy": 0.5}
    assert update["curves"][0]["times"] == [2.5]
    page = study_html(study, now=6.0)
    assert ">epoch<" in page
    assert ">step<" not in page
    mixed = advance_study_all(study, said[6:])
    assert StudyFeed().next(mixed, now=6.0, extra={})["head"]["step_name"] == "step"
    assert ">step<" in study_html(mixed, now=6.0)


def started(number, at):
    return ev.TrialStarted(at=at, trial=number, values={})


def done(number, at):
    return ev.TrialEnded(at=at, trial=number, state=TrialState.DONE, value=1.0)


def test_what_is_left_counts_down_while_trials_run():
    said = [ev.Places(held=2, wanted=2), started(0, 0.0), started(1, 0.0), done(0, 100.0), done(1, 100.0)]
    study = advance_study_all(beginning(trials_wanted=6), [*said, started(2, 100.0), started(3, 100.0)])
    told = [study_words.remaining_s(study, now) for now in (100.0, 130.0, 170.0, 199.0)]
    assert told == [200.0, 170.0, 130.0, 101.0]
    last = advance_study_all(study, [done(2, 200.0), done(3, 200.0), started(4, 200.0), started(5, 200.0)])
    assert [study_words.remaining_s(last, now) for now in (200.0, 290.0, 310.0)] == [100.0, 10.0, None]


def test_a_study_of_which_nothing_was_heard_says_what_it_waits_for():
    running = ev.StateChanged(at=1.0, state=RunState.RUNNING)
    report = ev.TrialReported(trial=0, step=1, values={"loss": 0.75})
    told = [
        study_words.waiting(advance_study_all(beginning(), said))
        for said in ([], [ev.Queued(position=2, needed=1, free=0)], [running], [running, started(0, 1.0)])
    ]
    assert told == [
        "waits for the cluster to take it",
        "waiting for slots, 2nd in the queue",
        "starts its first trials",
        "the first trials run, none has reported yet",
    ]
    assert study_words.waiting(advance_study_all(beginning(), [running, started(0, 1.0), report])) == ""


def test_a_running_trial_is_told_with_its_newest_value():
    study = advance_study_all(beginning(), [started(0, 1.0), ev.TrialReported(trial=0, step=1, values={"loss": 0.75})])
    update = StudyFeed().next(study, now=2.0, extra={})
    assert update["trials"][0]["value"] == 0.75
    assert study.best is None
