"""The embedded cluster belongs to the user, not to a kernel, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from places import Place, family, is_gone, shared_memory, until

from hops_magic.engine.cluster import Clusters
from hops_magic.engine.connection import Connection
from hops_magic.engine.status import ClusterKind
from hops_magic.errors import ClusterError, NotFoundError, OptionError, VersionMismatchError


def test_outlives_the_kernel_that_started_it_and_works(clusters: Clusters) -> None:
    cluster = clusters.current(start=False)
    status = cluster.status()
    assert cluster.kind is status.kind is ClusterKind.EMBEDDED
    assert cluster.is_local
    assert [(worker.threads, worker.slots, worker.slots_free) for worker in status.workers] == [(1, 1, 1), (1, 1, 1)]
    assert status.runs == ()
    assert cluster.client.submit(sum, (1, 2)).result(timeout=20) == 3


def test_is_found_by_another_kernel(place: Place, connection: Connection) -> None:
    out, err = place.kernel("print(Clusters().current().address)").communicate(timeout=60)
    assert out.strip() == connection.address, err


def test_files_are_for_the_user_only(place: Place, connection: Connection) -> None:
    folder = Path(connection.folder)
    files = [place.file.path, place.root / "home" / "cluster.log", *folder.glob("*.pem")]
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE KEY" not in place.file.path.read_text()


def test_listens_on_this_machine_only(clusters: Clusters, connection: Connection) -> None:
    clusters.current()
    sockets = [socket for process in family(connection) for socket in process.net_connections()]
    hosts = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert hosts == {"127.0.0.1"}


def test_dashboard_shows_itself_to_those_who_know_its_path(connection: Connection) -> None:
    root = "/".join(connection.dashboard.split("/")[:3])

    def answer(link: str) -> int:
        try:
            with urllib.request.urlopen(link, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    until(lambda: answer(connection.dashboard) == 200)
    assert [answer(root + path) for path in ("/", "/status", "/sitemap.json", "/json/identity.json")] == [404] * 4


def test_worker_threads_are_told_to_the_libraries(clusters: Clusters) -> None:
    told = clusters.current().client.run(lambda: os.environ["OMP_NUM_THREADS"])
    assert set(told.values()) == {"1"}


def test_scales_up_and_down(clusters: Clusters, connection: Connection) -> None:
    cluster = clusters.current()
    try:
        clusters.scale(3)
        status = cluster.status()
        assert (len(status.workers), status.slots) == (3, 3)
    finally:
        clusters.scale(2)
    assert len(cluster.status().workers) == 2
    with pytest.raises(OptionError, match="workers must be at least 1, got 0"):
        clusters.scale(0)


def test_starting_again_with_other_sizes_says_what_to_do(clusters: Clusters) -> None:
    assert clusters.start() is clusters.start(2)
    with pytest.raises(ClusterError, match="running already with 2 workers of 1 thread: change it with %cluster scale"):
        clusters.start(4)


def test_not_starting_when_told_so(make_place: Callable[[], Place]) -> None:
    with pytest.raises(NotFoundError, match="no cluster is running: start one with %cluster start"):
        Clusters(make_place().file).current(start=False)


@pytest.mark.parametrize("component", ["python", "distributed", "keras"])
def test_other_versions_are_named(make_place: Callable[[], Place], connection: Connection, component: str) -> None:
    place = make_place()
    place.file.path.parent.mkdir()
    changed = Connection.from_json(connection.to_json())
    changed.versions[component] = "2.7.18"
    place.file.write(changed)
    with pytest.raises(
        VersionMismatchError, match=rf"embedded cluster runs {component} 2\.7\.18, this kernel {component} .*stop"
    ):
        Clusters(place.file).current()
    place.file.path.unlink()


def test_kernels_that_start_at_once_get_one_cluster_which_ends_when_idle(make_place: Callable[[], Place]) -> None:
    place = make_place()
    code = "c = Clusters(); print(c.current().address, flush=True); input(); print(c.current().is_usable)"
    kernels = [place.kernel(code, HOPS_CLUSTER_IDLE_S="1.5") for _ in range(2)]
    addresses = {kernel.stdout.readline() for kernel in kernels if kernel.stdout}
    assert len(addresses) == 1
    assert addresses != {""}
    connection = place.file.live()
    assert connection is not None
    processes = family(connection)
    until(lambda: all(is_gone(process) for process in processes))
    assert place.scratch() == []
    assert not place.file.path.exists()
    # a kernel is not told of it before it wants something, and then gets another
    kernels[0].kill()
    kernels[0].communicate()
    assert kernels[1].communicate("\n", timeout=60) == ("True\n", "")


def test_a_killed_daemon_takes_all_along_and_the_next_cleans_up(make_place: Callable[[], Place]) -> None:
    place = make_place()
    clusters = Clusters(place.file)
    assert place.command("start", "-n", "1").returncode == 0
    connection = place.file.live()
    assert connection is not None
    client = clusters.current().client
    processes = family(connection)
    shared = shared_memory()
    # what the code of a user starts has no reason to end with its worker
    left = int(*client.run(subprocess.getoutput, "sleep 600 >/dev/null 2>&1 & echo $!").values())
    os.kill(connection.process.pid, signal.SIGKILL)
    until(lambda: all(is_gone(process) for process in processes), within_s=5)
    assert psutil.Process(left).cmdline() == ["sleep", "600"]
    assert Path(connection.folder).exists()
    # the holder still has a client of the dead cluster
    until(lambda: not clusters.in_use or not clusters.in_use.is_usable)
    assert place.command("start", "-n", "1").returncode == 0
    second = clusters.current()
    assert second.address != connection.address
    assert not Path(connection.folder).exists()
    until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)

    third = place.file.live()
    assert third is not None
    processes = family(third)
    assert clusters.stop()
    assert all(is_gone(process) for process in processes)
    assert place.scratch() == []
    assert not place.file.path.exists()
    assert shared_memory() <= shared
    assert not clusters.stop()


def test_a_worker_that_dask_gives_up_is_replaced(make_place: Callable[[], Place]) -> None:
    place = make_place()
    # Dask gives up at once a worker that died, instead of after 15 s in which it may have come back
    assert place.command("start", "-n", "1", DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT="0 ms").returncode == 0
    clusters = Clusters(place.file)
    client = clusters.current().client
    ((_, pid),) = client.run(os.getpid).items()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))
    until(lambda: pid not in (pids := client.run(os.getpid).values()) and len(pids) == 1, within_s=60)
    assert clusters.stop()


def test_a_start_that_fails_says_why_and_leaves_nothing(make_place: Callable[[], Place]) -> None:
    place = make_place()
    failed = place.command("start", DASK_DISTRIBUTED__SCHEDULER__PRELOAD="no_such_module")
    assert failed.returncode == 1
    assert failed.stderr.startswith("the embedded cluster could not start: ")
    assert "no_such_module" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert place.scratch() == []
    assert not place.file.path.exists()


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("HOPS_HOME", "/dev/null/home", "the embedded cluster could not start: .*Not a directory: '/dev/null/home'"),
        ("HOPS_CLUSTER_IDLE_S", "soon", "HOPS_CLUSTER_IDLE_S must be a number of seconds above 0, got 'soon'"),
        ("JUPYTER_RUNTIME_DIR", "/dev/null/jupyter", "Jupyter's runtime directory /dev/null/jupyter cannot be made: .*"),
    ],
)
def test_bad_settings_are_one_sentence(make_place: Callable[[], Place], setting: str, value: str, sentence: str) -> None:
    failed = make_place().command("start", **{setting: value})
    assert failed.returncode == 1
    assert re.fullmatch(sentence + "\n", failed.stderr), failed.stderr
