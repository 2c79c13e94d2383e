"""How a run is told in words and figures, the same in every text and static view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hops_magic.errors import counted
from hops_magic.runs.events import RankError, is_number
from hops_magic.runs.inputs import told_way
from hops_magic.runs.run import RankView, Run
from hops_magic.runs.states import RunState
from hops_magic.widgets.plain import one_line


def title(run: Run) -> str:
    """The name that a user knows the run by."""
    return run.name or run.run_id


def duration(seconds: float | None) -> str:
    """``75`` -> ``1:15``; ``3675`` -> ``1:01:15``; unknown -> empty."""
    if seconds is None or not is_number(seconds):
        return ""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def figure(value: float) -> str:
    """A metric's value in at most four significant digits."""
    if not is_number(value):
        return str(value)
    size = abs(value)
    return f"{value:.3e}" if size and (size < 1e-3 or size >= 1e6) else f"{value:,.4g}" if size < 1e4 else f"{value:,.0f}"


def amount(size_bytes: int | None) -> str:
    """``1500000`` -> ``1.4 MiB``; unknown -> empty."""
    if size_bytes is None:
        return ""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"


def ordinal(number: int) -> str:
    """``2`` -> ``2nd``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def ranks(numbers: Iterable[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``ranks 0-2, 5``."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return f"rank {text}" if len(spans) == 1 and spans[0][0] == spans[0][1] else f"ranks {text}"


def queue(run: Run) -> str:
    """``waiting for 3 slots, 2 free, 2nd in the queue``; empty when the run does not wait for slots."""
    if run.state is not RunState.QUEUED or run.slots_needed is None:
        return ""
    parts = [f"waiting for {counted(run.slots_needed, 'slot')}", f"{run.slots_free or 0} free"]
    if run.queue_position is not None:
        parts.append("next in the queue" if run.queue_position == 1 else f"{ordinal(run.queue_position)} in the queue")
    return ", ".join(parts)


def waiting(run: Run) -> str:
    """What a run that computes no steps yet waits for; empty once a step, a metric or an end was told."""
    if run.state is RunState.SUBMITTED:
        return "waits for the cluster to take it"
    if run.state is RunState.QUEUED:
        return queue(run)
    here = sum(view.alive for view in run.ranks.values())
    if run.state is RunState.STARTING:
        return f"starts processes and imports the framework, {here} of {counted(run.world_size, 'rank')} ready"
    if run.state is not RunState.RUNNING or run.curves or any(view.phase for view in run.ranks.values()):
        return ""
    if run.inputs:
        return "builds the graph of the first step"
    return "the cell runs, no step yet" if not any(view.output_chars for view in run.ranks.values()) else ""


def slowest(run: Run) -> RankView | None:
    """The rank that the others wait for; what it is at is what the run is at."""
    views = list(run.ranks.values())
    return min(views, key=lambda view: (view.epoch, view.step)) if views else None


def progress(run: Run) -> str:
    """``epoch 3/5, step 12/40``; empty before the first step."""
    view = slowest(run)
    if view is None or not (view.phase and (view.step or view.epoch)):
        return ""
    parts = [] if view.phase == "fit" else [view.phase]
    if view.phase == "fit":
        # an epoch counts when finished; what is going on is the one after it
        current = view.epoch if view.epochs is not None and view.epoch >= view.epochs else view.epoch + 1
        parts.append(f"epoch {current}/{view.epochs}" if view.epochs else f"epoch {current}")
        if current == view.epoch:
            return ", ".join(parts)
    if view.step:
        parts.append(f"step {view.step}/{view.steps}" if view.steps else f"step {view.step}")
    return ", ".join(parts)


def throughput(run: Run) -> float | None:
    """Rows per second of all ranks together, of a run that has ended over its whole training; None while none has said."""
    if run.state.is_final:
        trained = [view for view in run.ranks.values() if view.examples is not None and view.train_s]
        if trained:
            # ranks train at the same time: the longest of them is how long it took
            return sum(view.examples or 0.0 for view in trained) / max(view.train_s or 0.0 for view in trained)
    known = [view.examples_per_s or 0.0 for view in run.ranks.values() if is_number(view.examples_per_s)]
    return sum(known) if known else None


def epoch_speed(run: Run, series: int, epoch: int) -> float | None:
    """Rows per second of all ranks together in the training of one epoch; None where it is not known."""
    known = [
        curve.values[curve.steps.index(epoch)]
        for (fit, _), curve in run.speeds.items()
        if fit == series and epoch in curve.steps
    ]
    # every rank has its share of each batch: one that has not told the epoch's end yet is as fast as the others
    speaking = sum(view.examples_per_s is not None for view in run.ranks.values())
    return sum(known) / len(known) * max(speaking, len(known)) if known else None


def notes(run: Run) -> list[str]:
    """What is worth knowing of how the run was carried out: what was checked, and how the ranks came by their rows."""
    return [*run.notes, *(told_way(phase, way) for phase, way in run.inputs)]


def reason(run: Run) -> str:
    """Why the run is in its state, on one line; nothing where its errors say the same."""
    why = one_line(run.reason)
    told = run.state.is_final and any(why.startswith(one_line(group.headline)[:-1]) for group in errors(run))
    return "" if told else why


def latest_metrics(run: Run) -> Mapping[str, float]:
    """The newest metrics, losses first, each training value before its validation value."""
    return {name: run.latest[name] for name in sorted(run.latest, key=_metric_order)}


def epoch_table(run: Run) -> dict[int, dict[int, dict[str, float]]]:
    """Metrics of whole epochs as rank 0 said them: fit -> epoch -> metric -> value, in the order of the metrics."""
    table: dict[int, dict[int, dict[str, float]]] = {}
    keys = [key for key in run.curves if key[1] == "epoch" and key[3] == 0]
    for key in sorted(keys, key=lambda key: _metric_order(key[0])):
        curve = run.curves[key]
        epochs = table.setdefault(key[2], {})
        for epoch, value in zip(curve.steps, curve.values, strict=True):
            epochs.setdefault(epoch, {})[key[0]] = value
    return table


def _metric_order(name: str) -> tuple[bool, str, bool]:
    base = name.removeprefix("val_")
    return ("loss" not in base, base, name != base)


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """The same error on one rank or more."""

    ranks: str
    headline: str
    traceback: str


def errors(run: Run) -> list[ErrorGroup]:
    """The run's errors, the same ones told once; symptoms of another rank's end only when no cause is known."""
    causes = [error for error in run.errors if not error.is_peer_loss] or list(run.errors)
    groups: dict[tuple[str, str], list[RankError]] = {}
    for error in causes:
        groups.setdefault((error.name, error.message), []).append(error)
    return [
        ErrorGroup(
            ranks=ranks(error.rank for error in same),
            headline=f"{name}: {message}" if message else name,
            traceback=same[0].traceback,
        )
        for (name, message), same in groups.items()
    ]
