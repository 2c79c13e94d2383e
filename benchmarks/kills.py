"""One round of random kills: a study and a run on a cluster of their own, what kills them, and what is counted afterwards.

Each round has an embedded cluster, a home and a temporary folder of its own; only processes below that cluster, and kernels
that the round started, are killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from hops_magic.errors import HopsError

TRIALS = 20
LAST_TRIALS = 4
END_WITHIN_S = 180.0
FOLLOW = "import sys, hops_magic as hops\nhops.attach(sys.argv[1], show=False)"

STUDY = """
import pathlib, time
with pathlib.Path(log).open('a') as lines: lines.write(f'{x}\\n')
for step in range(1, 6):
    hops.report(step=step, loss=float(x))
    time.sleep(pause)
while x >= last and not pathlib.Path(gate).exists():
    time.sleep(pause)
"""
"""Its last trials wait until all that is to be killed was killed, however fast or slow the machine is."""
RUN = """
import pathlib, subprocess, time
child = subprocess.Popen(['sleep', '3600'])
for step in range(1, 31):
    hops.report(step=step, loss=1 / step)
    time.sleep(pause)
while not pathlib.Path(gate).exists():
    time.sleep(pause)
answer = 42
"""

VICTIMS = ("rank", "warm process", "worker", "pair of workers", "all workers", "supervisor's worker", "kernel")
FAULTS = ("finished trials lost", "run twice without a retry", "contradictions", "hung", "left behind")


@dataclass
class Counts:
    """What was killed, and what went wrong, each fault with its story."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=lambda: {fault: [] for fault in FAULTS})
    rounds: int = 0

    def fault(self, kind: str, story: str) -> None:
        self.faults[kind].append(story)
        print(f"  {kind}: {story}", flush=True)

    def add(self, other: Counts) -> None:
        self.kills += other.kills
        self.rounds += other.rounds
        for kind, stories in other.faults.items():
            self.faults[kind] += stories


@contextmanager
def surroundings() -> Iterator[Path]:
    """A home, a runtime folder and a temporary folder for the time of a round."""
    before = {name: os.environ.get(name) for name in ("HOPS_HOME", "JUPYTER_RUNTIME_DIR", "TMPDIR")}
    root = Path(tempfile.mkdtemp(prefix="hops-chaos-"))
    for name, folder in zip(before, ("home", "runtime", "tmp"), strict=True):
        (root / folder).mkdir(mode=0o700)
        os.environ[name] = str(root / folder)
    outer, tempfile.tempdir = tempfile.tempdir, str(root / "tmp")
    try:
        yield root
    finally:
        tempfile.tempdir = outer
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        shutil.rmtree(root, ignore_errors=True)


class Round:
    """A study and a run on a cluster of some workers, and what kills their processes."""

    def __init__(self, root: Path, dice: random.Random, workers: int, counts: Counts) -> None:
        from hops_magic.engine.connection import ConnectionFile
        from hops_magic.session import Session
        from hops_magic.settings import Settings

        self.root, self.dice, self.workers, self.counts = root, dice, workers, counts
        self.log, self.gate = root / "log", root / "gate"
        self.session = Session(Settings.from_environment())
        self.file = ConnectionFile(root / "home", root / "runtime")
        self.kernels: list[subprocess.Popen[bytes]] = []
        self.finished: dict[int, Any] = {}
        self._shared = set(Path("/dev/shm").iterdir())

    def begin(self) -> None:
        self.session.clusters.start(self.workers, 1)
        self.begin_on_cluster()

    def begin_on_cluster(self) -> None:
        self.study = self._tuned()
        # on one slot, a run that came first would wait for the gate, and the study for the run
        _wait(lambda: bool(self.log.exists()), END_WITHIN_S)
        options = {"workers": 1, "framework": "none", "restarts": 200, "name": "run", "detach": True}
        self.run = self.session.train(RUN, namespace={"pause": 0.1, "gate": str(self.gate)}, show=False, **options)

    def _tuned(self, **more: Any) -> Any:
        from hops_magic.tuning.space import grid

        options = {"minimize": "loss", "search": "grid", "trials": TRIALS, "stop": "none", "framework": "none"}
        options |= {"retries": 200, "name": "study", "detach": True, **more}
        space = {"x": grid([float(i) for i in range(TRIALS)])}
        names = {"log": str(self.log), "gate": str(self.gate), "last": float(TRIALS - LAST_TRIALS), "pause": 0.1}
        return self.session.tune(STUDY, space, namespace=names, show=False, **options)

    # -- victims -------------------------------------------------------------------------------------------------------

    def daemon(self) -> psutil.Process | None:
        connection = self.file.live()
        return None if connection is None else psutil.Process(connection.process.pid)

    def workers_alive(self) -> list[psutil.Process]:
        daemon = self.daemon()
        return [] if daemon is None else [p for p in daemon.children() if "spawn_main" in " ".join(_command(p))]

    def victims(self, kind: str) -> list[psutil.Process]:
        workers = self.workers_alive()
        warm = [child for worker in workers for child in _children(worker)]
        if kind == "rank":
            return self._some([rank for process in warm for rank in _children(process)], 1)
        if kind == "warm process":
            return self._some(warm, 1)
        if kind == "kernel":
            process = subprocess.Popen([sys.executable, "-c", FOLLOW, self.dice.choice([self.run, self.study]).run_id])
            self.kernels.append(process)
            time.sleep(self.dice.uniform(1.0, 4.0))  # somewhere between its imports and the following
            return [psutil.Process(process.pid)] if process.poll() is None else []
        if kind == "supervisor's worker":
            port = self._supervisor().rpartition(":")[2]
            return [worker for worker in workers if port and _listens(worker, int(port))]
        return self._some(workers, {"worker": 1, "pair of workers": 2, "all workers": len(workers)}[kind])

    def _some(self, processes: list[psutil.Process], count: int) -> list[psutil.Process]:
        return self.dice.sample(processes, min(count, len(processes)))

    def _supervisor(self) -> str:
        client = self.session.clusters.current(start=False).client
        handle = self.dice.choice([self.study, self.run])
        left = client.sync(client.scheduler.hops_snapshot, run_id=handle.run_id)
        return str(left["supervisor"])

    def kill(self, kind: str) -> bool:
        found = self.victims(kind)
        for process in found:
            _kill(process)
        self.counts.kills[kind] += bool(found)
        return bool(found)

    def kill_daemon(self) -> None:
        daemon = self.daemon()
        if daemon is None:
            return
        # a run of which nobody has written yet can be told of by nobody
        if not _wait(self._are_recorded, END_WITHIN_S):
            self.counts.fault("hung", "the record of a run or study did not begin")
            return
        self.note_finished()
        _kill(daemon)
        self.counts.kills["daemon"] += 1
        _wait(lambda: self.file.live() is None, 20)
        self.session.clusters.close()
        lost = set(self.session.reconcile())
        for handle in (self.study, self.run):
            state = self.session.registry.run(handle.run_id).state
            if not state.is_final:
                self.counts.fault(
                    "contradictions", f"{handle.run_id} is {state.value} by its record, without a cluster ({lost})"
                )
        self.session.clusters.start(self.workers, 1)
        self.study = self._tuned(resume=self.study.run_id)
        self.run = None

    def _are_recorded(self) -> bool:
        known = {info.run_id for info in self.session.registry.runs()}
        return {self.study.run_id, self.run.run_id} <= known

    # -- the end -------------------------------------------------------------------------------------------------------

    def note_finished(self) -> None:
        """Take note of trials that a viewer has been told to be over."""
        for handle in (self.study, self.run):
            if handle is not None:
                next(handle.follower.updates())
                handle.follower._look()
        self.finished |= {trial.number: trial.value for trial in self.study.follower.run.ended()}

    def is_over(self) -> bool:
        self.note_finished()
        return all(handle.follower.run.state.is_final for handle in (self.study, self.run) if handle is not None)

    def check(self) -> None:
        if not _wait(self.is_over, END_WITHIN_S):
            states = [h.follower.run.state.value for h in (self.study, self.run) if h is not None]
            self.counts.fault("hung", f"on {self.workers} workers, states {states} after {END_WITHIN_S:g} s")
            return
        study = self.study.follower.run
        for number, value in self.finished.items():
            trial = study.trials.get(number)
            if trial is None or trial.value != value:
                self.counts.fault("finished trials lost", f"trial {number} had {value}, and is now {trial}")
        begun = Counter(float(line) for line in self.log.read_text().split())
        for trial in study.trials.values():
            if begun[float(trial.values["x"])] > 1 + trial.attempt:
                self.counts.fault("run twice without a retry", f"trial {trial.number}: {begun}, attempt {trial.attempt}")
        if len(study.trials) != TRIALS or {trial.state.value for trial in study.trials.values()} != {"done"}:
            states = Counter(trial.state.value for trial in study.trials.values())
            self.counts.fault(
                "finished trials lost", f"not all trials were done: {dict(states)}, study {study.state} {study.reason}"
            )
        self._compare()

    def _compare(self) -> None:
        """Compare what the notebook, the record and the journal say, when the record has had the time to be completed."""
        for handle in filter(None, (self.study, self.run)):
            told = handle.follower.run
            if not _wait(lambda: self._recorded(told.run_id) != "", END_WITHIN_S):  # noqa: B023 (called at once)
                self.counts.fault("contradictions", f"{told.name} is {told.state.value}, and not recorded: {told.warnings}")
                continue
            states = [event.state.value for event in self._journal(told.run_id) if event.kind == "state"]
            said = {told.state.value, self._recorded(told.run_id), states[-1] if states else "nothing"}
            if len(said) > 1:
                self.counts.fault("contradictions", f"{told.name}: told as {told.state.value}, {said}, {states[-3:]}")
        for trial in self.study.follower.run.trials.values():
            recorded = self._recorded(f"{self.study.run_id}-{trial.number}")
            if recorded != trial.state.value:
                self.counts.fault("contradictions", f"trial {trial.number}: {trial.state.value}, {recorded or 'no record'}")

    def _recorded(self, run_id: str) -> str:
        """Return the state that a whole record tells; empty as long as there is none."""
        try:
            info = self.session.registry.run(run_id)
        except HopsError:
            return ""  # not begun yet, or the registry is busy
        return info.state.value if info.state.is_final and not info.incomplete else ""

    def _journal(self, run_id: str) -> list[Any]:
        from hops_magic.engine.journal import read_journal

        return list(read_journal(self.session.settings.runs / run_id))

    def close(self) -> None:
        for kernel in self.kernels:
            kernel.kill()
            kernel.wait()
        self.session.clusters.stop(force=True)
        if not _wait(lambda: not processes_of(self.root), END_WITHIN_S):
            self.counts.fault("left behind", f"processes {told_processes(processes_of(self.root))}")
        # a process that has just ended may still be in the way of its folder's removal
        if not _wait(lambda: not self._folders(), END_WITHIN_S):
            self.counts.fault("left behind", f"folders {self._folders()}")
        if shared := set(Path("/dev/shm").glob("*hops*")) - self._shared:
            self.counts.fault("left behind", f"shared memory {shared}")
        for process in processes_of(self.root):
            _kill(process)

    def _folders(self) -> list[str]:
        return [path.name for path in (self.root / "tmp").glob("hops-*")]


def processes_of(root: Path) -> list[psutil.Process]:
    """Return the processes of a round, by the home in their environment; ports are theirs."""
    mark = f"HOPS_HOME={root / 'home'}"
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and mark in _environment(p)]


def told_processes(processes: list[psutil.Process]) -> list[str]:
    return [" ".join(_command(process))[:80] for process in processes]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _environment(process: psutil.Process) -> list[str]:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
        return [f"{name}={value}" for name, value in process.environ().items() if name == "HOPS_HOME"]
    except psutil.Error:
        return []


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections())
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return


def _wait(fact: Callable[[], bool], within_s: float) -> bool:
    ends = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True


def one_round(dice: random.Random, workers: int, kills: int, *, daemon: bool) -> Counts:
    """Kill ``kills`` times while a study and a run go on, the daemon last if asked for, and see what has become of them."""
    counts = Counts(rounds=1)
    with surroundings() as root:
        it = Round(root, dice, workers, counts)
        try:
            it.begin()
            if not _wait(lambda: bool(it.log.exists()), END_WITHIN_S):
                counts.fault("hung", f"no trial began on {workers} workers within {END_WITHIN_S:g} s")
                return counts
            left = kills - daemon
            while left:
                time.sleep(dice.uniform(0.1, 2.0))
                kind = dice.choice(VICTIMS)
                if not _wait(lambda: it.kill(kind), END_WITHIN_S):  # noqa: B023 (called at once)
                    counts.fault("hung", f"no {kind} was there to be killed within {END_WITHIN_S:g} s")
                    break
                left -= 1
            if daemon:
                it.kill_daemon()
            it.gate.touch()
            it.check()
        finally:
            it.close()
    return counts
