"""Cut the link of a worker, or of the kernel, while a study and a run go on: ``python -m benchmarks.cuts``.

Scheduler, workers and kernel live in network namespaces of their own, whose links to a bridge are taken down and up again:
packets vanish, and nobody is told. That needs root, ``ip`` and PostgreSQL, whose socket all of them see.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.kills import END_WITHIN_S, FAULTS, Counts, Round, _kill, _wait, processes_of, surroundings, told_processes
from benchmarks.table import Table
from hops_magic.errors import ClusterError

PLACES = ("scheduler", "worker-1", "worker-2", "kernel")
NETWORK = "10.77.0"
CUTS = (("worker", 5.0), ("worker", 75.0), ("kernel", 5.0), ("kernel", 75.0))


def why_not() -> str:
    """Say what is missing on this machine; empty if links can be cut."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "PostgreSQL is not installed"
    probe = subprocess.run(["ip", "netns", "add", f"hops-{os.getpid()}"], capture_output=True, text=True, check=False)
    if probe.returncode:
        return f"no network namespace can be made ({probe.stderr.strip()})"
    subprocess.run(["ip", "netns", "delete", f"hops-{os.getpid()}"], check=True)
    return ""


class Network:
    """A bridge in a namespace, and a namespace with a link to it for each place."""

    def __init__(self) -> None:
        self._mark = f"hops-{os.getpid()}"

    def __enter__(self) -> Network:
        self._add("hub")
        self._within("hub", "ip", "link", "add", "hub", "type", "bridge")
        self._within("hub", "ip", "link", "set", "hub", "up")
        for number, place in enumerate(PLACES, 1):
            self._add(place)
            peer = ("peer", "name", "eth0", "netns", self.name(place))
            self._within("hub", "ip", "link", "add", place, "type", "veth", *peer)
            self._within("hub", "ip", "link", "set", place, "master", "hub", "up")
            self._within(place, "ip", "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._within(place, "ip", "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for place in ("hub", *PLACES):
            subprocess.run(["ip", "netns", "delete", self.name(place)], check=False, capture_output=True)

    def name(self, place: str) -> str:
        return f"{self._mark}-{place}"

    def cut(self, place: str) -> None:
        self._within("hub", "ip", "link", "set", place, "down")

    def mend(self, place: str) -> None:
        self._within("hub", "ip", "link", "set", place, "up")

    def start(self, place: str, *words: str, log: IO[Any] | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start a Python module in a place."""
        command = ["ip", "netns", "exec", self.name(place), sys.executable, "-m", *words]
        return subprocess.Popen(command, text=True, stderr=log, **more)

    def _add(self, place: str) -> None:
        subprocess.run(["ip", "netns", "add", self.name(place)], check=True)

    def _within(self, place: str, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name(place), *command], check=True)


# -- the kernel -------------------------------------------------------------------------------------------------------


class Viewer(Round):
    """A kernel with a study and a run on a cluster that it is connected to; it takes note of what its user would see."""

    def begin(self) -> None:
        if not _wait(self._connects, END_WITHIN_S):
            sys.exit("the scheduler did not come")
        self.begin_on_cluster()
        self.shown: dict[str, str] = {}
        self.refusals: list[str] = []
        for handle in (self.study, self.run):
            threading.Thread(target=self._follow, args=(handle,), daemon=True).start()
        threading.Thread(target=self._look, daemon=True).start()

    def _connects(self) -> bool:
        try:
            self.cluster = self.session.clusters.connect(f"tcp://{NETWORK}.1:8786")
        except ClusterError:
            return False
        return len(self.cluster.status().workers) == self.workers

    def _follow(self, handle: Any) -> None:
        from hops_magic.training import follow

        def show(run: Any) -> None:
            for text in run.warnings:
                if "lost since" in text:
                    self.shown[run.name] = text

        follow(handle, show)

    def _look(self) -> None:
        while True:
            time.sleep(0.5)
            if not self.cluster.is_usable:
                try:
                    used = self.session.clusters.current()
                    if used is not self.cluster:
                        self.counts.fault("contradictions", f"the next cell runs on {used.address}")
                except ClusterError as error:
                    self.refusals.append(str(error))

    def told(self) -> dict[str, Any]:
        """Return what was counted, and what the user was told."""
        both = ("connect again with", "leave it with %cluster stop")
        return {
            "faults": self.counts.faults,
            "shown": len(self.shown),
            "refused": len(self.refusals),
            "odd": [text for text in self.refusals if not all(way in text for way in both)][:1],
            "is_used": self.session.clusters.current() is self.cluster,
        }


def view() -> None:
    """Be the kernel: begin, say so, and check what has become of all when that is asked for."""
    viewer = Viewer(Path(os.environ["HOPS_HOME"]).parent, random.Random(0), 2, Counts())
    viewer.begin()
    begun = _wait(lambda: bool(viewer.log.exists()), END_WITHIN_S)
    print("begun" if begun else "not begun", flush=True)
    sys.stdin.readline()
    viewer.gate.touch()
    viewer.check()
    print(json.dumps(viewer.told()), flush=True)


# -- the cuts ---------------------------------------------------------------------------------------------------------


@contextmanager
def _postgres(root: Path) -> Iterator[str]:
    """A PostgreSQL server on a socket, which every namespace sees."""
    tools = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder = root / "pg"
    folder.mkdir()
    root.chmod(0o755)
    shutil.chown(folder, "postgres", "postgres")
    # no process of the round's, by the home in its environment
    environment = {name: value for name, value in os.environ.items() if name != "HOPS_HOME"}
    who: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder, "env": environment}

    def run(*words: str) -> None:
        subprocess.run([str(tools / words[0]), *words[1:]], check=True, capture_output=True, **who)

    run("initdb", "-D", str(folder / "data"), "-U", "hops", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    run("pg_ctl", "-D", str(folder / "data"), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://hops@registry/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")


@contextmanager
def _cluster(network: Network, root: Path) -> Iterator[None]:
    started = []
    with (root / "cluster.log").open("w") as log:
        listen = ("--host", f"{NETWORK}.1", "--port", "8786", "--no-dashboard")
        started.append(network.start("scheduler", "distributed.cli.dask_scheduler", *listen, log=log))
        for worker in PLACES[1:3]:
            folder = ("--local-directory", str(root / "tmp" / worker), "--memory-limit", "0", "--no-dashboard")
            words = ("distributed.cli.dask_worker", f"tcp://{NETWORK}.1:8786", "--nthreads", "1", *folder)
            started.append(network.start(worker, *words, log=log))
        try:
            yield
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                # one that does not end is found, and counted, with what else is left
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)


def cut(target: str, for_s: float, dice: random.Random) -> dict[str, Any]:
    """Cut a link for some seconds; return what the kernel has to tell afterwards."""
    with ExitStack() as stack:
        root = stack.enter_context(surroundings())
        shared = {"HOPS_TRACKING_URI": stack.enter_context(_postgres(root)), "HOPS_ARTIFACTS": str(root / "artifacts")}
        os.environ |= shared
        stack.callback(lambda: [os.environ.pop(name) for name in shared])
        network = stack.enter_context(Network())
        with _cluster(network, root):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            kernel = network.start("kernel", "benchmarks.cuts", "--view", log=None, **pipes)
            assert kernel.stdin is not None
            assert kernel.stdout is not None
            begun = kernel.stdout.readline().strip()
            told = ""
            if begun == "begun":
                place = dice.choice(PLACES[1:3]) if target == "worker" else target
                network.cut(place)
                time.sleep(for_s)
                network.mend(place)
                kernel.stdin.write("end\n")
                kernel.stdin.flush()
                told = kernel.stdout.readline()
            kernel.kill()
            kernel.wait(60)
        found: dict[str, Any] = json.loads(told) if told else {"faults": {"hung": [f"the kernel, {begun or 'not begun'}"]}}
        if not _wait(lambda: not processes_of(root), END_WITHIN_S):
            found["faults"].setdefault("left behind", []).append(f"processes {told_processes(processes_of(root))}")
        for process in processes_of(root):
            _kill(process)
    return found


def cut_links(seed: int) -> tuple[Table, bool]:
    """Cut each kind of link once for a short and once for a long time; return the table, and whether all went well."""
    rows: list[Sequence[object]] = []
    is_well = True
    for target, for_s in CUTS:
        print(f"cut: {target}, {for_s:g} s", flush=True)
        found = cut(target, for_s, random.Random(f"{seed}/{target}/{for_s}"))
        print(f"  {found}", flush=True)
        counts = [len(found["faults"].get(kind, ())) for kind in FAULTS]
        way = (
            "not noticed" if not found.get("shown") else f"told in {found['shown']} views, {found['refused']} cells refused"
        )
        is_fine = not any(counts) and not found.get("odd") and found.get("is_used", False)
        is_well = is_well and is_fine
        rows.append([target, f"{for_s:g} s", *counts, way, "the same" if found.get("is_used") else "another or none"])
    question = (
        "Scheduler, two workers and a kernel in network namespaces; a link is taken down in silence and up again while a "
        "study and a run with restarts go on. The kernel tells what its views showed, and whether new cells were refused "
        "meanwhile."
    )
    columns = ["link of", "cut for", *FAULTS, "seen by the kernel", "cluster in use afterwards"]
    return Table("Links that are cut", question, columns, rows), is_well


if __name__ == "__main__":
    if "--view" in sys.argv:
        view()
    elif missing := why_not():
        sys.exit(f"links cannot be cut here: {missing}")
    else:
        made, went_well = cut_links(1)
        sys.exit(not went_well)
