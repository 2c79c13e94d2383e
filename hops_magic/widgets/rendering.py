"""The state of a run as HTML and text that need neither kernel, script nor network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TypeVar

from hops_magic.errors import counted
from hops_magic.runs.run import RankView, Run
from hops_magic.runs.states import RunState
from hops_magic.widgets import markup, words
from hops_magic.widgets.charts import charts
from hops_magic.widgets.pictures import HEIGHT, WIDTH, chart_png, data_uri
from hops_magic.widgets.plain import clean, one_line
from hops_magic.widgets.sanitize import sanitize
from hops_magic.widgets.wire import display_of

MAX_OUTPUT_CHARS = 20_000
MAX_EPOCHS = 100
_NOW = ("examples/s", "CPU", "memory", "GPU")
_OVERALL = ("examples/s, mean", "CPU, mean", "memory, most", "GPU, mean")
MAX_METRICS = 20

Shown = TypeVar("Shown")


def static_text(run: Run) -> str:
    """The run in a few lines of text."""
    parts = [
        f"{one_line(words.title(run))}: {words.queue(run) or run.state.value}",
        "" if run.state.is_final else words.progress(run),
    ]
    if run.elapsed_s is not None:
        parts.append(words.duration(run.elapsed_s))
    shown, more = _few(list(words.latest_metrics(run).items()))
    parts += [f"{one_line(name, 40)} {words.figure(value)}" for name, value in shown] + more
    lines = ["  ".join(filter(None, parts))]
    lines += [f"{group.ranks}: {one_line(group.headline, 400)}" for group in words.errors(run)]
    return "\n".join(lines)


def static_html(run: Run, *, report_html: str = "", note: str = "") -> str:
    """The run as a piece of a page.

    Styles are inline and colours have fall-backs, since viewers of notebooks strip style sheets; nothing depends on them.
    """
    parts = [
        _header(run),
        markup.note(note),
        *(markup.callout("#c9372c", f"{group.ranks}: {group.headline}", group.traceback) for group in words.errors(run)),
        *(markup.callout("#b7791f", f"Restarted: {reason}") for reason in run.restarts),
        *(markup.callout("#b7791f", message) for message in run.warnings),
        _charts(run),
        markup.folded(f"Epochs ({max(map(len, table.values()))})", _epochs(run))
        if (table := words.epoch_table(run))
        else "",
        markup.folded(counted(run.world_size, "rank").capitalize(), _ranks(run)) if run.ranks else "",
        *_displays(run),
        *_outputs(run),
        markup.folded("Parameters", _parameters(run)) if run.parameters else "",
        markup.folded("How it was carried out", "<br>".join(map(markup.text, words.notes(run)))) if words.notes(run) else "",
        markup.folded("What travelled to the cluster", sanitize(report_html)) if report_html else "",
        markup.note(
            " · ".join(filter(None, (one_line(run.run_id), run.experiment and f"experiment {one_line(run.experiment)}")))
        ),
    ]
    return markup.page(parts)


def _header(run: Run) -> str:
    # where a run that is over stood last says nothing of what it came to
    facts = [counted(run.world_size, "rank"), words.waiting(run), "" if run.state.is_final else words.progress(run)]
    if run.elapsed_s is not None:
        facts.append(words.duration(run.elapsed_s))
    if run.checkpoint is not None and run.state is not RunState.DONE:
        facts.append(f"checkpoint of epoch {run.checkpoint.epoch}")
    facts.append(words.reason(run))
    shown, more = _few(list(words.latest_metrics(run).items()))
    metrics = " &nbsp; ".join(
        [
            f'<span style="{markup.FAINT}">{markup.text(one_line(name, 40))}</span> <b>{words.figure(value)}</b>'
            for name, value in shown
        ]
        + more
    )
    first = markup.headline(run.state, words.title(run), facts)
    return f'<div>{first}</div><div style="margin:2px 0 6px">{metrics}</div>'


def _few(items: list[Shown]) -> tuple[list[Shown], list[str]]:
    """Return the first of many items, and in words how many more there are: a cell may report thousands of metrics."""
    left = len(items) - MAX_METRICS
    return items[:MAX_METRICS], [f"and {left:,} more"] if left > 0 else []


def _charts(run: Run) -> str:
    pictures = [
        f'<img width="{WIDTH}" height="{HEIGHT}" alt="{escape(_told(chart.title, run), quote=True)}" '
        f'style="margin:4px 16px 4px 0;display:inline-block" src="{data_uri(chart_png(chart))}">'
        for chart in charts(run)[:12]
    ]
    return f"<div>{''.join(pictures)}</div>" if pictures else ""


def _told(title: str, run: Run) -> str:
    value = run.latest.get(title)
    return f"curve of {one_line(title, 60)}" + ("" if value is None else f", last {words.figure(value)}")


def _epochs(run: Run) -> str:
    tables = []
    for series, epochs in sorted(words.epoch_table(run).items()):
        names, more = _few(list(dict.fromkeys(name for values in epochs.values() for name in values)))
        rows = [
            [str(epoch), *(words.figure(values[name]) if name in values else "" for name in names), *("…" for _ in more)]
            for epoch, values in sorted(epochs.items())[-MAX_EPOCHS:]
        ]
        first = "epoch" if len(words.epoch_table(run)) == 1 else f"fit {series}, epoch"
        tables.append(_table([first, *(one_line(name, 40) for name in names), *more], rows))
    return "".join(tables)


def _ranks(run: Run) -> str:
    return _table(
        ["rank", "where", "progress", *(_OVERALL if run.state.is_final else _NOW)],
        [_rank_row(view, is_over=run.state.is_final) for _, view in sorted(run.ranks.items())],
    )


def _rank_row(view: RankView, *, is_over: bool) -> list[str]:
    """A rank's figures: of this moment, or once it is over, of its whole time."""
    speed, cpu, memory = view.examples_per_s, view.cpu_percent, view.memory_bytes
    gpu, gpu_memory = view.gpu_percent, view.gpu_memory_bytes
    if is_over:
        speed = view.examples / view.train_s if view.examples is not None and view.train_s else speed
        cpu, memory = view.mean_cpu_percent, view.peak_memory_bytes
        gpu, gpu_memory = view.mean_gpu_percent, view.peak_gpu_memory_bytes
    return [
        str(view.rank),
        one_line(view.host or view.worker, 60),
        f"epoch {view.epoch}/{view.epochs}" if view.epochs else f"epoch {view.epoch}" if view.epoch else "",
        "" if speed is None else f"{speed:,.0f}",
        "" if cpu is None else f"{cpu:.0f} %",
        words.amount(memory),
        "" if gpu is None else f"{gpu:.0f} %, {words.amount(gpu_memory)}",
    ]


def _parameters(run: Run) -> str:
    rows = [[one_line(name, 60), one_line(str(value), 200)] for name, value in run.parameters.items()]
    return _table(["parameter", "value"], rows)


def _table(names: list[str], rows: list[list[str]]) -> str:
    used = [index for index in range(len(names)) if any(row[index] for row in rows)]
    return markup.table([names[index] for index in used], [[row[index] for index in used] for row in rows])


def _displays(run: Run) -> Iterator[str]:
    for shown in run.displays:
        data: dict[str, str] = display_of(shown)["data"]
        picture = next((kind for kind in ("image/png", "image/jpeg", "image/gif") if kind in data), None)
        if picture is not None:
            body = f'<img style="max-width:100%" src="data:{picture};base64,{escape("".join(data[picture].split()))}">'
        elif "text/html" in data:
            body = sanitize(data["text/html"])
        else:
            body = f'<pre style="{markup.MONO}">{markup.text(clean(data.get("text/plain", "")))}</pre>'
        yield f'<div style="margin:6px 0;overflow:auto">{body}</div>'


def _outputs(run: Run) -> Iterator[str]:
    for rank, view in sorted(run.ranks.items()):
        if view.output:
            yield markup.folded(f"Output of rank {rank}", _output(view), is_open=rank == 0)


def _output(view: RankView) -> str:
    cleaned = [(stream, clean(text)) for stream, text in view.output]
    excess = sum(len(text) for _, text in cleaned) - MAX_OUTPUT_CHARS
    is_cut = excess > 0 or view.output_chars > sum(len(text) for _, text in view.output)
    spans = [f'<span style="{markup.FAINT}">… earlier output is in the run\'s record</span>\n'] if is_cut else []
    for stream, text in cleaned:
        kept, excess = text[max(0, excess) :], excess - len(text)
        if kept:
            spans.append(
                f'<span style="color:#c9372c">{markup.text(kept)}</span>' if stream == "stderr" else markup.text(kept)
            )
    return f'<pre style="{markup.MONO}">{"".join(spans)}</pre>'
