"""Connections to a cluster that are cut: what ran is followed again, and no job goes to another cluster by itself."""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import worker_processes
from cutting import Proxy
from waiting import wait_until

from hops_magic.cells.capture import CellOrigin
from hops_magic.engine import attach
from hops_magic.engine.cluster import Cluster, Clusters
from hops_magic.engine.status import ClusterKind
from hops_magic.engine.submit import RunHandle
from hops_magic.errors import ClusterError
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState
from hops_magic.training import Surroundings, collect, follow, prepare, start

WAITS = """
import pathlib, time
pathlib.Path(sign + '-begun').touch()
while not pathlib.Path(sign).exists(): time.sleep(0.05)
answer = 42
"""


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Proxy]]:
    """A cluster that is reached through a proxy only."""
    monkeypatch.setenv("HOPS_HOME", str(tmp_path / "home"))
    with worker_processes(1, tmp_path / "home", tmp_path / "scratch") as cluster:
        proxy = Proxy(int(cluster.scheduler_address.rpartition(":")[2]))
        yield cluster, proxy
        proxy.close()


def begun(cluster: Cluster, folder: Path) -> tuple[RunHandle, dict[str, Any]]:
    namespace = {"sign": str(folder / "sign")}
    surroundings = Surroundings(origin=CellOrigin(label="In[1]", first_line=2), folder=folder)
    handle = start(cluster, prepare(WAITS, namespace, DistributedOptions(workers=1, framework="none"), surroundings))
    wait_until((folder / "sign-begun").exists, "the run's beginning")
    return handle, namespace


def test_a_run_is_followed_again_when_the_scheduler_answers(
    far: tuple[Any, Proxy], clusters: Clusters, tmp_path: Path
) -> None:
    _, proxy = far
    address = f"tcp://127.0.0.1:{proxy.port}"
    cluster = clusters.connect(address)
    handle, namespace = begun(cluster, tmp_path)
    proxy.cut()
    wait_until(lambda: not cluster.is_usable, "the loss of the connection")
    for _ in range(2):  # it is not forgotten by being said
        with pytest.raises(
            ClusterError, match=f"connection to the cluster at {address} is lost: connect again with"
        ) as said:
            clusters.current()
        assert "or leave it with %cluster stop" in str(said.value)
    ended = threading.Event()

    def wait_for_end() -> None:
        follow(handle)
        ended.set()

    thread = threading.Thread(target=wait_for_end)
    thread.start()
    (tmp_path / "sign").touch()  # it ends while nobody can see it
    proxy.mend()
    assert ended.wait(60)
    thread.join()
    assert clusters.current() is cluster
    assert cluster.kind is ClusterKind.CONNECTED
    collect(handle, namespace, handle.follower.run)
    assert namespace["answer"] == 42
    # who leaves it gets the embedded cluster, and not before
    assert clusters.stop()
    assert clusters.current().kind is ClusterKind.EMBEDDED


def test_a_link_that_falls_silent_is_noticed_told_and_taken_up_again(
    far: tuple[Any, Proxy], clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "PROVE_EVERY_S", 0.5)
    monkeypatch.setattr(attach, "PROVEN_WITHIN_S", 3.0)
    _, proxy = far
    address = f"tcp://127.0.0.1:{proxy.port}"
    cluster = clusters.connect(address)
    handle, _ = begun(cluster, tmp_path)
    shown: list[Run] = []
    thread = threading.Thread(target=follow, args=(handle, shown.append))
    thread.start()
    wait_until(lambda: shown and shown[-1].state is RunState.RUNNING, "the run's beginning, as it is shown", 180)
    proxy.silence()
    wait_until(lambda: any("lost since" in text for text in shown[-1].warnings), "the note on the silence", 180)
    silent = shown[-1]
    assert (silent.state, silent.ended_at) == (RunState.RUNNING, handle.follower.silent_since)  # its clock stands
    with pytest.raises(ClusterError, match=f"{address} is lost: connect again with .*, or leave it with %cluster stop"):
        clusters.current()
    handle.stop()  # nobody hears it yet
    monkeypatch.setattr(attach, "PROVEN_WITHIN_S", 180.0)
    proxy.speak()
    thread.join(180)
    assert not thread.is_alive()
    assert (shown[-1].state, shown[-1].warnings) == (RunState.STOPPED, ())
    wait_until(lambda: cluster.is_usable, "the connection", 180)
    monkeypatch.setattr(attach, "DOUBTED_AFTER_S", 3600.0)
    assert clusters.current() is cluster


def test_a_silence_that_nobody_has_noticed_yet_does_not_swallow_the_next_cell(
    far: tuple[Any, Proxy], clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "PROVE_EVERY_S", 3600.0)
    monkeypatch.setattr(attach, "DOUBTED_AFTER_S", 0.0)
    _, proxy = far
    cluster = clusters.connect(f"tcp://127.0.0.1:{proxy.port}")
    proxy.silence()
    with pytest.raises(ClusterError, match=r"is lost: connect again with .*, or leave it with %cluster stop"):
        clusters.current()
    proxy.speak()
    wait_until(lambda: cluster.is_usable, "the connection", 180)
    monkeypatch.setattr(attach, "DOUBTED_AFTER_S", 3600.0)
    assert clusters.current() is cluster


def test_a_scheduler_that_was_started_anew_is_named(far: tuple[Any, Proxy], clusters: Clusters, tmp_path: Path) -> None:
    _, proxy = far
    cluster = clusters.connect(f"tcp://127.0.0.1:{proxy.port}")
    handle, _ = begun(cluster, tmp_path)
    with worker_processes(1, tmp_path / "home", tmp_path / "scratch2") as another:
        proxy.cut()
        wait_until(lambda: not cluster.is_usable, "the loss of the connection")
        proxy.mend(int(another.scheduler_address.rpartition(":")[2]))
        with pytest.raises(
            ClusterError, match=f"was started anew, and knows run {handle.run_id} no more: %experiments show"
        ):
            follow(handle)
        # and it can be used at once
        assert clusters.current() is cluster
        wait_until(lambda: cluster.status().slots == 1, "the new workers' slots")
        clusters.close()


def test_the_end_of_the_embedded_cluster_is_told_with_a_way_on(make_place: Any, tmp_path: Path) -> None:
    place = make_place()
    clusters = Clusters(place.file)
    cluster = clusters.start(1, 1)
    handle, _ = begun(cluster, tmp_path)
    connection = place.file.live()
    assert connection is not None
    os.kill(connection.process.pid, signal.SIGKILL)
    with pytest.raises(
        ClusterError, match=f"the embedded cluster has ended, and with it run {handle.run_id}.*run the cell again"
    ):
        follow(handle)
    clusters.close()


def test_looking_at_a_plain_scheduler_leaves_nothing_in_its_log(far: tuple[Any, Proxy]) -> None:
    cluster, _ = far
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado.application", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        attach.check_reachable(cluster.scheduler_address, None)
        with pytest.raises(ClusterError, match="does not speak TLS"):
            attach.check_reachable(cluster.scheduler_address.replace("tcp", "tls"), None)
        # whatever it makes of it, it has made before it answers a third
        attach.connect(cluster.scheduler_address, None).close()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert written.getvalue() == ""
