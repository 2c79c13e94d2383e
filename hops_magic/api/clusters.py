"""The cluster in use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import Field

from hops_magic.api.context import Context
from hops_magic.api.plain import Number
from hops_magic.api.routing import Payload, Wanted, table
from hops_magic.engine.status import ClusterStatus
from hops_magic.runs.run import RankView

Figure = TypeVar("Figure", int, float)

_MOST_WORKERS = 4_096
_HERE = ("localhost", "127.0.0.1", "::1")

Workers = Annotated[int, Field(ge=1, le=_MOST_WORKERS)]


class RankFigures(Payload):
    """What the ranks on a worker use together, as far as they have said.

    ``cpu_percent`` is that of one core, ``gpu_percent`` an average.
    """

    ranks: int
    cpu_percent: Number
    memory_bytes: int | None
    gpu_percent: Number
    gpu_memory_bytes: int | None


class WorkerRow(Payload):
    """A worker; ``cpu_percent`` of one core and ``memory_bytes`` are those of its own process.

    ``in_ranks`` are those of the ranks of runs; of trials nothing is known here.
    """

    name: str
    address: str
    host: str
    threads: int
    slots: int
    slots_free: int
    gpus: list[str]
    cpu_percent: Number
    memory_bytes: int
    memory_limit_bytes: int
    in_ranks: RankFigures


class ClusterRun(Payload):
    """A run that holds slots, or waits for them at ``queue_position`` (from 1)."""

    run_id: str
    name: str
    world_size: int
    slots: int
    queue_position: int | None


class ClusterDocument(Payload):
    """The cluster in use; only ``is_running`` is told of one that does not run.

    ``dashboard_proxy`` is its dashboard's address below the server's base URL; empty where the proxy cannot reach it.
    """

    is_running: bool
    kind: str = ""
    address: str = ""
    dashboard: str = ""
    dashboard_proxy: str = ""
    started_at: float | None = None
    slots: int = 0
    slots_free: int = 0
    workers: tuple[WorkerRow, ...] = ()
    runs: tuple[ClusterRun, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)


class StartWanted(Wanted):
    """How large the cluster shall be; as the machine suggests where nothing is said."""

    workers: Workers | None = None
    threads: Annotated[int, Field(ge=1, le=1_024)] | None = None


class ScaleWanted(Wanted):
    """How many workers there shall be."""

    workers: Workers


class StopWanted(Wanted):
    """Whether runs that go on are ended with the cluster."""

    force: bool = False


@table.route("GET", "/cluster", tag="cluster")
def show_cluster(context: Context) -> ClusterDocument:
    """Show the cluster in use, or the user's own if it runs; none is started."""
    with context.cluster_lock:
        cluster = context.cluster()
        return ClusterDocument(is_running=False) if cluster is None else _document(context, cluster.status())


@table.route("POST", "/cluster/start", tag="cluster")
def start_cluster(context: Context, *, body: StartWanted) -> ClusterDocument:
    """Start the user's own cluster, or find it running."""
    with context.cluster_lock:
        status = context.session.clusters.start(body.workers, body.threads).status()
    context.changes.say(["cluster"])
    return _document(context, status)


@table.route("POST", "/cluster/scale", tag="cluster")
def scale_cluster(context: Context, *, body: ScaleWanted) -> ClusterDocument:
    """Change the number of workers."""
    with context.cluster_lock:
        status = context.session.clusters.scale(body.workers).status()
    context.changes.say(["cluster"])
    return _document(context, status)


@table.route("POST", "/cluster/stop", tag="cluster")
def stop_cluster(context: Context, *, body: StopWanted) -> ClusterDocument:
    """End the user's own cluster, or leave one that was started elsewhere."""
    with context.cluster_lock:
        context.session.clusters.stop(force=body.force)
    context.changes.say(["cluster", "runs"])
    return ClusterDocument(is_running=False)


def figures_of(ranks: Sequence[RankView]) -> RankFigures:
    """Add up what ranks use; None for what none of them has said."""
    gpus = [rank.gpu_percent for rank in ranks if rank.gpu_percent is not None]
    return RankFigures(
        ranks=len(ranks),
        cpu_percent=_sum(rank.cpu_percent for rank in ranks),
        memory_bytes=_sum(rank.memory_bytes for rank in ranks),
        gpu_percent=sum(gpus) / len(gpus) if gpus else None,
        gpu_memory_bytes=_sum(rank.gpu_memory_bytes for rank in ranks),
    )


def _sum(values: Iterable[Figure | None]) -> Figure | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _proxied(dashboard: str) -> str:
    parts = urlsplit(dashboard)
    return f"proxy/{parts.port}{parts.path}" if parts.hostname in _HERE and parts.port else ""


def _document(context: Context, status: ClusterStatus) -> ClusterDocument:
    ranks = context.live.ranks()
    return ClusterDocument(
        is_running=True,
        kind=status.kind.value,
        address=status.address,
        dashboard=status.dashboard,
        dashboard_proxy=_proxied(status.dashboard),
        started_at=status.started_at,
        slots=status.slots,
        slots_free=status.slots_free,
        workers=tuple(
            WorkerRow(
                name=worker.name,
                address=worker.address,
                host=worker.host,
                threads=worker.threads,
                slots=worker.slots,
                slots_free=worker.slots_free,
                gpus=list(worker.gpus),
                cpu_percent=worker.cpu_percent,
                memory_bytes=worker.memory_bytes,
                memory_limit_bytes=worker.memory_limit_bytes,
                in_ranks=figures_of([rank for rank in ranks if rank.worker == worker.address]),
            )
            for worker in status.workers
        ),
        runs=tuple(
            ClusterRun(
                run_id=run.run_id,
                name=run.name,
                world_size=run.world_size,
                slots=run.slots,
                queue_position=run.queue_position,
            )
            for run in status.runs
        ),
        versions=dict(status.versions),
    )
