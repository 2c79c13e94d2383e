"""Where a run's values lie when it has ended, and how they come to whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, get_worker

from hops_magic.engine.buffers import PART_BYTES, node_identity
from hops_magic.engine.handing_back import IN_MEMORY
from hops_magic.engine.job import RESULT_NAME
from hops_magic.engine.rank_host import rank_host
from hops_magic.errors import ClusterError

_LOOK_FOR_WORKER_S = 2.0
_REPLY_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """Where a finished run left its values: a file on a node (``host``), within reach of ``worker``."""

    worker: str
    host: str
    path: str


def fetch(client: Client, run_id: str, result: Result, into: Path) -> Path:
    """Return a local file with a run's values: the very file on this machine, or a copy in ``into``.

    Raises
    ------
    ClusterError
        If the values have been fetched before, or lie where nobody can be asked for them.
    """
    path = Path(result.path)
    if result.path.startswith(IN_MEMORY):
        path = Path(RESULT_NAME)
    elif path.is_file():
        # runs' numbers are random: a file of this name is theirs, on a machine with or without workers
        return path
    elif result.host == own_node(cluster_state(client)):
        raise ClusterError(f"the values of run {run_id} have been fetched before: run the cell again")
    target = into / path.name
    with target.open("wb") as file:
        offset = 0
        while part := _part(client, run_id, result, offset):
            file.write(part)
            offset += len(part)
    return target


def _part(client: Client, run_id: str, result: Result, offset: int) -> bytes:
    try:
        part: bytes = on_worker(client, _reader(client, run_id, result), _read, result.path, offset)
    except FileNotFoundError as error:
        raise ClusterError(f"the values of run {run_id} have been fetched before: run the cell again") from error
    return part


def _reader(client: Client, run_id: str, result: Result) -> str:
    """Return a worker of the node where a run has left its values."""
    nodes = cluster_state(client)["nodes"]
    in_memory = result.path.startswith(IN_MEMORY)
    # one worker has what lies in memory, all of a machine what lies on a disk
    found = [
        str(address)
        for address, node in nodes.items()
        if (address == result.worker if in_memory else node["host"] == result.host)
    ]
    if not found and in_memory:
        raise ClusterError(
            f"the values of run {run_id} are gone: the worker that kept them, since its disk was full, has died"
        )
    if not found:
        raise ClusterError(
            f"the values of run {run_id} lie in {result.path} on a machine whose workers have left the cluster: "
            f"%attach {run_id} brings them when one is back"
        )
    return result.worker if result.worker in found else found[0]


def on_worker(client: Client, address: str, what: Callable[..., Any], *args: Any) -> Any:
    """Call a function on a worker.

    Raises
    ------
    ClusterError
        If the worker leaves the cluster before it has answered: Dask would wait for it for ever.
    """
    task = client.submit(what, *args, workers=[address], pure=False)
    while True:
        try:
            return task.result(timeout=_LOOK_FOR_WORKER_S)
        except TimeoutError as error:
            if address not in cluster_state(client)["nodes"]:
                task.cancel()
                raise ClusterError(f"worker {address} has left the cluster: try again") from error


def _read(path: str, offset: int) -> bytes:
    if path.startswith(IN_MEMORY):
        parcel = rank_host(get_worker()).parcels.get(path.removeprefix(IN_MEMORY))
        if parcel is None:
            raise FileNotFoundError(path)
        return bytes(parcel[offset : offset + PART_BYTES])
    with Path(path).open("rb") as file:
        file.seek(offset)
        return file.read(PART_BYTES)


def cluster_state(client: Client) -> dict[str, Any]:
    """Return placement's view of the cluster: slots, gangs, queue, runs.

    Raises
    ------
    ClusterError
        If it does not answer.
    """
    try:
        state: dict[str, Any] = client.sync(client.scheduler.hops_state, callback_timeout=_REPLY_WITHIN_S)
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"the cluster does not answer: {error or type(error).__name__}") from error
    return state


def own_node(state: dict[str, Any]) -> str | None:
    """Identity of the node that this process shares with workers of the cluster, None if there is none."""
    for node in state["nodes"].values():
        folder = Path(node["node_dir"])
        if folder.is_dir() and node_identity(folder) == node["host"]:
            return str(node["host"])
    return None
