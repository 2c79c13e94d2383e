from __future__ import annotations

import io
import re
from html.parser import HTMLParser

from PIL import Image

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState
from hops_magic.widgets.charts import charts, ticks
from hops_magic.widgets.pictures import chart_png
from hops_magic.widgets.rendering import static_html, static_text

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


def trained() -> Run:
    events: list[ev.Event] = [ev.StateChanged(at=10.0, state=RunState.RUNNING)]
    for epoch in (1, 2, 3):
        values = {"loss": 1 / epoch, "val_loss": 1.1 / epoch, "accuracy": 1 - 0.5 / epoch}
        events.append(ev.Metrics(rank=0, step=epoch, scope="epoch", values=values))
    events += [
        ev.Output(rank=0, stream="stdout", text="hello\n"),
        ev.Output(rank=0, stream="stderr", text="careful\n"),
        ev.Displayed(rank=0, data={"image/png": "iVBORw0KGgo="}),
        ev.StateChanged(at=75.0, state=RunState.DONE),
    ]
    return advance_all(Run(run_id="run-1", name="digits", world_size=2), events)


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_text_says_how_it_ended() -> None:
    assert static_text(trained()) == "digits: done  1:05  loss 0.3333  val_loss 0.3667  accuracy 0.8333"


def test_a_run_that_is_over_tells_no_last_moment_and_no_error_twice() -> None:
    last = ev.Progress(rank=0, phase="evaluate", epoch=3, epochs=3, step=1, steps=12)
    error = ev.RankError(rank=0, name="ValueError", message="no rows", traceback="")
    end = ev.StateChanged(at=75.0, state=RunState.FAILED, reason="ValueError: no rows [ranks 0-1: same error]")
    run = advance_all(Run(run_id="run-1", name="digits", world_size=2), [last, error, end])
    assert "evaluate" not in static_text(run)
    page = static_html(run)
    assert "evaluate" not in page
    assert page.count("ValueError: no rows") == 1


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = static_html(trained(), report_html="<table><tr><td>x_train</td></tr></table>")
    for tag, attributes in Tags(html).found:
        assert tag not in ("script", "style", "link", "iframe", "svg")
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert not any(name.startswith("on") or name == "href" for name in attributes)
    assert "hello" in html
    assert "careful" in html
    assert "x_train" in html
    assert html.count("curve of") == 2


def test_nothing_that_a_user_or_rank_chose_becomes_a_tag() -> None:
    run = advance_all(
        Run(run_id=HOSTILE, name=HOSTILE, experiment=HOSTILE),
        [
            ev.Metrics(rank=0, step=1, scope="epoch", values={HOSTILE: 1.0}),
            ev.Output(rank=0, stream="stdout", text=HOSTILE),
            ev.Warned(message=HOSTILE),
            ev.Displayed(rank=0, data={"text/html": HOSTILE}),
            ev.Displayed(rank=0, data={"text/plain": HOSTILE}),
            ev.Displayed(rank=0, data={"image/png": '"><img src=x onerror=alert(1)>'}),
            ev.RankStarted(rank=0, attempt=0, pid=1, worker=HOSTILE, host=HOSTILE),
            ev.Restarted(attempt=1, reason=HOSTILE),
            ev.RankError(rank=0, name=HOSTILE, message=HOSTILE, traceback=HOSTILE),
            ev.StateChanged(state=RunState.FAILED, reason=HOSTILE),
        ],
    )
    html = static_html(run, report_html=HOSTILE)
    assert not [attributes for _, attributes in Tags(html).found if "onerror" in attributes]
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_a_chatty_run_makes_no_huge_notebook() -> None:
    run = trained()
    for rank in range(4):
        run = advance_all(run, [ev.Output(rank=rank, stream="stdout", text="x" * 60 + "\n") for _ in range(2_000)])
    html = static_html(run)
    assert "earlier output is in the run's record" in html
    assert len(html) < 250_000


def test_values_that_are_no_numbers_leave_gaps() -> None:
    values = [float("nan"), 1.0, float("inf"), 2.0]
    run = advance_all(
        Run(run_id="r"),
        [ev.Metrics(rank=0, step=step, scope="batch", values={"loss": value}) for step, value in enumerate(values, 1)],
    )
    assert "data:image/png" in static_html(run)


def test_a_chart_is_a_picture_with_its_curve_in_it() -> None:
    chart = charts(trained())[0]
    image = Image.open(io.BytesIO(chart_png(chart)))
    assert image.size == (680, 392)
    colours = {colour for _, colour in image.getcolors(100_000)}
    assert (0x3B, 0x82, 0xD6, 255) in colours
    assert (0xE8, 0x85, 0x3A, 255) in colours
    assert (0, 0, 0, 0) in colours


def test_charts_follow_the_same_rules_as_in_the_browser() -> None:
    batch = [ev.Metrics(rank=0, step=step, scope="batch", values={"loss": 1.0}) for step in (1, 2, 3)]
    one = advance_all(
        Run(run_id="r"), [*batch, ev.Metrics(rank=0, step=1, scope="epoch", values={"loss": 1, "val_loss": 1})]
    )
    assert [(chart.unit, [line.label for line in chart.lines]) for chart in charts(one)] == [("step", ["loss"])]
    two = advance_all(one, [ev.Metrics(rank=0, step=2, scope="epoch", values={"loss": 1, "val_loss": 1})])
    assert [(chart.unit, [line.label for line in chart.lines]) for chart in charts(two)] == [("epoch", ["loss", "val_loss"])]
    again = advance_all(two, [ev.Metrics(rank=0, step=1, scope="batch", values={"loss": 9.0}, series=2)])
    assert charts(again)[0].lines[0].curve.values == (9.0,)


def test_ticks_are_round() -> None:
    assert ticks(0.13, 1.07) == [0.25, 0.5, 0.75, 1.0]
    assert ticks(1, 5) == [1, 2, 3, 4, 5]
    assert ticks(3, 3) == [3]


def test_style_is_inline() -> None:
    assert not re.search(r"<style|class=", static_html(trained()))
