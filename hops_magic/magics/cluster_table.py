"""A cluster's status as a table, in notebooks and terminals."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from hops_magic.engine.status import ClusterStatus, RunningRun, WorkerStatus
from hops_magic.errors import counted

_HEAD = ("worker", "host", "threads", "slots free", "GPUs", "CPU", "memory")


class ClusterTable:
    """What ``%cluster`` shows of a cluster.

    Parameters
    ----------
    note
        What has just been done, shown first.
    """

    def __init__(self, status: ClusterStatus, note: str = "") -> None:
        self.status, self.note = status, note

    def __repr__(self) -> str:
        rows = [_HEAD, *(_cells(worker) for worker in self.status.workers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*self._facts(), *table, *(_describe(run) for run in self.status.runs)])

    def _repr_html_(self) -> str:
        facts = "".join(f"<div>{html.escape(fact)}</div>" for fact in self._facts(link=False))
        if self.status.dashboard:
            link = html.escape(self.status.dashboard, quote=True)
            facts += f'<div>dashboard <a href="{link}" target="_blank" rel="noopener noreferrer">{link}</a></div>'
        head = _row("th", _HEAD)
        body = "".join(_row("td", _cells(worker)) for worker in self.status.workers)
        runs = "".join(f"<div>{html.escape(_describe(run))}</div>" for run in self.status.runs)
        return f"{facts}<table><thead>{head}</thead><tbody>{body}</tbody></table>{runs}"

    def _facts(self, *, link: bool = True) -> list[str]:
        status = self.status
        since = f", for {_duration(time.time() - status.started_at)}" if status.started_at else ""
        facts = [self.note] if self.note else []
        facts.append(f"{status.kind.value} cluster at {status.address}{since}")
        free = f"{status.slots_free} of {counted(status.slots, 'slot')} free"
        facts.append(f"{counted(len(status.workers), 'worker')}, {free}")
        if link and status.dashboard:
            facts.append(f"dashboard {status.dashboard}")
        return facts


def _cells(worker: WorkerStatus) -> tuple[str, ...]:
    memory = _size(worker.memory_bytes)
    if worker.memory_limit_bytes:
        memory += f" of {_size(worker.memory_limit_bytes)}"
    return (
        worker.name,
        worker.host,
        str(worker.threads),
        f"{worker.slots_free} of {worker.slots}",
        ", ".join(worker.gpus) or "none",
        f"{worker.cpu_percent:.0f} %",
        memory,
    )


def _describe(run: RunningRun) -> str:
    name = run.run_id if run.name == run.run_id else f"{run.name} ({run.run_id})"
    if run.queue_position is not None:
        return f"run {name} waits for {counted(run.slots, 'slot')}, number {run.queue_position} in the queue"
    return f"run {name} holds {counted(run.slots, 'slot')}"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{max(0, int(seconds))} s"
