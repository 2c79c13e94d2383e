from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hops_magic.runs import events as ev
from hops_magic.runs.run import MAX_DISPLAYS, MAX_OUTPUT_CHARS, MAX_POINTS, Run, advance, advance_all
from hops_magic.runs.states import RunState
from hops_magic.widgets.wire import Feed, display_of

metrics = st.builds(
    ev.Metrics,
    rank=st.integers(0, 1),
    step=st.integers(1, 40),
    scope=st.sampled_from(["batch", "epoch"]),
    values=st.dictionaries(st.sampled_from(["loss", "acc"]), st.floats(), min_size=1),
    series=st.integers(1, 2),
)
outputs = st.builds(
    ev.Output,
    rank=st.integers(0, 1),
    stream=st.sampled_from(["stdout", "stderr"]),
    text=st.text(max_size=MAX_OUTPUT_CHARS // 3),
)
displays = st.builds(ev.Displayed, rank=st.just(0), data=st.fixed_dictionaries({"text/plain": st.sampled_from("abc")}))
progress = st.builds(ev.Progress, rank=st.integers(0, 1), step=st.integers(0, 9), examples_per_s=st.floats())
states = st.builds(ev.StateChanged, state=st.sampled_from([RunState.RUNNING, RunState.RESTARTING]))
anything = st.one_of(metrics, outputs, displays, progress, states)


class Browser:
    """What the front end does with messages, in a few lines."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.ranks: dict[int, Any] = {}
        self.curves: dict[tuple[Any, ...], list[Any]] = {}
        self.output: dict[int, Any] = {}
        self.displays: list[Any] = []
        self.seq = 0

    def receive(self, message: Any) -> None:
        update = json.loads(json.dumps(message, allow_nan=False))
        assert update["seq"] == self.seq
        assert update["reset"] == (self.seq == 0)
        self.seq += 1
        self.head.update(update["head"])
        self.ranks.update({rank["rank"]: rank for rank in update.get("ranks", ())})
        for curve in update.get("curves", ()):
            points = self.curves.setdefault((curve["metric"], curve["scope"], curve["series"], curve["rank"]), [])
            points[curve["at"] :] = list(zip(curve["steps"], curve["values"], strict=True))
        for part in update.get("output", ()):
            self.receive_output(part)
        if "displays" in update:
            self.displays = [*self.displays[update["displays"]["drop"] :], *update["displays"]["add"]]

    def receive_output(self, part: Any) -> None:
        chars = [(stream, char) for stream, text in part["parts"] for char in text]
        before, end = self.output.get(part["rank"], ([], 0))
        assert part["start"] >= end
        kept = before if part["start"] == end else []
        self.output[part["rank"]] = ([*kept, *chars][-MAX_OUTPUT_CHARS:], part["end"])


def feed(browser: Browser, sender: Feed, run: Run) -> None:
    message = sender.next(run, now=0.0, extra={"remaining_s": None})
    if message is not None:
        browser.receive(message)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(anything, max_size=4), max_size=12))
def test_differences_add_up_to_the_whole(batches: list[list[ev.Event]]) -> None:
    run, sender, browser = Run(run_id="r"), Feed(), Browser()
    for batch in [[], *batches]:
        run = advance_all(run, batch)
        feed(browser, sender, run)
    late = Browser()
    feed(late, Feed(), run)
    assert (browser.head, browser.ranks, browser.curves) == (late.head, late.ranks, late.curves)
    assert browser.output == late.output
    assert browser.displays == late.displays


def test_nothing_new_is_no_message() -> None:
    sender, run = Feed(), advance(Run(run_id="r"), ev.Output(rank=0, stream="stdout", text="a"))
    assert sender.next(run, now=0.0, extra={}) is not None
    assert sender.next(run, now=1.0, extra={}) is None
    sender.reset()
    assert sender.next(run, now=2.0, extra={})["reset"]  # type: ignore[index]


def test_a_long_curve_costs_a_point_at_a_time_until_it_is_thinned() -> None:
    run, sender = Run(run_id="r"), Feed()
    sizes = []
    for step in range(1, MAX_POINTS + 2):
        run = advance(run, ev.Metrics(rank=0, step=step, scope="batch", values={"loss": 1 / step}))
        message = sender.next(run, now=0.0, extra={})
        sizes.append(len(message["curves"][0]["steps"]))  # type: ignore[index]
    assert max(sizes[:-1]) == 1
    assert sizes[-1] == MAX_POINTS // 2 + 1


def test_output_beyond_what_is_kept_is_a_gap_and_only_new_output_travels() -> None:
    run, sender = advance(Run(run_id="r"), ev.Output(rank=0, stream="stdout", text="a" * MAX_OUTPUT_CHARS)), Feed()
    sender.next(run, now=0.0, extra={})
    run = advance(run, ev.Output(rank=0, stream="stdout", text="new\n"))
    assert sender.next(run, now=0.0, extra={})["output"] == [  # type: ignore[index]
        {"rank": 0, "start": MAX_OUTPUT_CHARS, "end": MAX_OUTPUT_CHARS + 4, "parts": [("stdout", "new\n")]}
    ]
    run = advance(run, ev.Output(rank=0, stream="stdout", text="b" * (2 * MAX_OUTPUT_CHARS)))
    (update,) = sender.next(run, now=0.0, extra={})["output"]  # type: ignore[index]
    assert update["start"] == 2 * MAX_OUTPUT_CHARS + 4


def test_only_new_displays_travel() -> None:
    run, sender = Run(run_id="r"), Feed()
    for number in range(MAX_DISPLAYS + 3):
        run = advance(run, ev.Displayed(rank=0, data={"text/plain": str(number)}))
        message = sender.next(run, now=0.0, extra={})
        assert [shown["data"]["text/plain"] for shown in message["displays"]["add"]] == [str(number)]  # type: ignore[index]


def test_a_display_is_cut_down_to_what_can_be_shown() -> None:
    shown = display_of(ev.Displayed(rank=0, data={"image/png": "AA==", "text/html": "<b>", "text/plain": "p", "x/y": {}}))
    assert shown["data"] == {"image/png": "AA==", "text/plain": "p"}
    assert "cannot be shown" in display_of(ev.Displayed(rank=0, data={"x/y": {}}))["data"]["text/plain"]
