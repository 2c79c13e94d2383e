"""Fill the disk of ``HOPS_HOME`` at every moment of a run and of a study, make room again, and count what is lost.

``python -m benchmarks.full_disk``. The disk is a small one in memory (tmpfs), in a mount namespace of its own unless the
user may mount; each moment is tried with a run or study of its own, on one cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.document import with_sections
from benchmarks.kills import surroundings
from benchmarks.table import Table

DOCUMENT = Path("docs/benchmarks.md")
DISK_MIB = 64
STEPS, TRIALS, PARALLEL = 40, 8, 2
END_WITHIN_S = 120.0
WHOLE_WITHIN_S = 180.0
REFUSED = "is full"
INSIDE = "a run's reports"
NEW_KERNELS_AT = ("step 13", "record's end", "half")
FAULTS = ("values lost", "unreadable", "record wrong", "not refused", "left half-written", "hung")

TOOLS = """
import contextlib, os, time
import hops_magic as hops

def fill(leave=0):
    try:
        armed.unlink()
    except FileNotFoundError:
        return
    with ballast.open('ab', buffering=0) as file, contextlib.suppress(OSError):
        for attempt in range(100):
            disk = os.statvfs(ballast.parent)
            # what others write meanwhile may leave less
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(4096, disk.f_bavail * disk.f_frsize - leave))
                break
        file.seek(0, os.SEEK_END)
        while not leave and file.write(bytes(4096)):
            pass

class Filling:
    def __reduce__(self):
        fill()
        return (int, (42,))
"""
RUN = (
    TOOLS
    + f"""
if moment == 'first line': fill()
if moment.startswith('left'): fill(int(moment.split()[1]) << 10)
for step in range(1, {STEPS} + 1):
    if moment == f'step {{step}}': fill()
    hops.report(step=step, loss=1 / step)
    print('step', step)
    time.sleep(0.02)
data = bytes(200_000)
if moment == 'last line': fill()
answer = Filling() if moment == 'packing' else 42
"""
)
STUDY = (
    TOOLS
    + """
if moment == f'trial {int(x)} begins': fill()
if moment.startswith('left'): fill(int(moment.split()[1]) << 10)
for step in range(1, 6):
    if moment == f'trial {int(x)} step {step}': fill()
    hops.report(step=step, score=float(x) / step)
    time.sleep(0.02)
data = bytes(50_000)
if moment == f'trial {int(x)} ends': fill()
"""
)
OF_A_RUN = [
    "checked",
    "folder",
    "journal",
    "rank-started",
    "first line",
    "step 1",
    "step 13",
    "step 40",
    "last line",
    "packing",
    "result",
    "rank-exited",
    "final",
    "record's end",
    *(f"left {kib}" for kib in (4, 16, 64, 192, 256, 512)),
]
OF_A_STUDY = [
    "checked",
    "folder",
    "journal",
    "trial-started",
    "trial 0 begins",
    "trial 3 step 3",
    "trial 7 step 5",
    "trial 3 ends",
    "trial 7 ends",
    "trial-ended",
    "half",
    "all ended",
    "final",
    "record's end",
    *(f"left {kib}" for kib in (4, 16, 64, 128, 256, 512)),
]


class Disk:
    """The disk of the home, of some MiB."""

    def __init__(self, folder: Path) -> None:
        self.ballast, self.armed = folder / "BALLAST", folder.parent / "armed"

    @property
    def is_full(self) -> bool:
        return self.ballast.exists()

    def fill(self) -> None:
        scope: dict[str, Any] = {"ballast": self.ballast, "armed": self.armed}
        exec(TOOLS, scope)
        scope["fill"]()

    def make_room(self) -> None:
        self.armed.unlink(missing_ok=True)
        self.ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small(folder: Path, mib: int) -> Iterator[Disk]:
    """Let a folder be a small disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@dataclass
class Counts:
    """What went wrong, each fault with its story."""

    faults: dict[str, list[str]] = field(default_factory=lambda: {fault: [] for fault in FAULTS})
    tried: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    whole_after_s: list[float] = field(default_factory=list)

    def fault(self, kind: str, story: str) -> None:
        self.faults[kind].append(story)
        print(f"  {kind}: {story}", flush=True)


class Case:
    """One run, or study, whose disk gets full at a moment."""

    def __init__(self, session: Any, disk: Disk, counts: Counts, moment: str, *, is_study: bool) -> None:
        self.session, self.disk, self.counts, self.moment, self.is_study = session, disk, counts, moment, is_study
        self.name = f"{'study' if is_study else 'run'}: {moment}"
        self.names: dict[str, Any] = {"moment": moment, "ballast": disk.ballast, "armed": disk.armed}
        self.run_id = ""
        self.over = threading.Event()

    # -- the disk gets full --------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Fill the disk when something from outside the cell has come to pass."""
        facts: dict[str, Callable[[Path], bool]] = {
            "folder": lambda folder: folder.is_dir(),
            "journal": lambda folder: bool(_log(folder)),
            "final": _is_final,
            "half": lambda folder: _log(folder).count(b'"kind": "trial-ended"') >= TRIALS // 2,
            "all ended": lambda folder: _log(folder).count(b'"kind": "trial-ended"') >= TRIALS,
            "record's end": lambda folder: (folder / ".record.lock").exists(),
        }
        said = f'"kind": "{self.moment}"'.encode()
        fact = facts.get(self.moment, lambda folder: said in _log(folder))
        runs = self.session.settings.runs
        known = set(runs.glob("*"))
        while not self.over.wait(0.001):
            for folder in set(runs.glob("*")) - known:
                if fact(folder):
                    self.disk.fill()
                    return

    def begin(self) -> Any:
        from hops_magic.engine import submit

        begin = submit._begin

        def checked(*args: Any) -> None:
            if self.moment == "checked":
                self.disk.fill()
            begin(*args)

        submit._begin = checked
        try:
            options = {"framework": "none", "name": self.name, "detach": True}
            if not self.is_study:
                return self.session.train(RUN, namespace=self.names, show=False, workers=2, **options)
            from hops_magic.tuning.space import grid

            options |= {"maximize": "score", "search": "grid", "trials": TRIALS, "stop": "none", "parallel": PARALLEL}
            space = {"x": grid([float(number) for number in range(TRIALS)])}
            return self.session.tune(STUDY, space, namespace=self.names, show=False, **options)
        finally:
            submit._begin = begin

    def run(self) -> None:
        """Let the disk get full, see what comes back, make room, and compare."""
        print(self.name, flush=True)
        self.disk.armed.touch()
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        try:
            handle = self.begin()
            self.run_id = handle.run_id
            values: dict[str, Any] = {}
            came = self._values(handle, values)
            self.over.set()
            watcher.join()
            if not self.disk.is_full:
                self.counts.missed.append(self.name)
                return
            self.counts.tried["study" if self.is_study else "run"] += 1
            self._read_while_full()
            self.disk.make_room()
            if came is None:
                came = self.session.attach(self.run_id, values, show=False)
            if not self.is_study and (values.get("answer") != 42 or "data" not in values):
                self.counts.fault("values lost", f"{self.name}: {sorted(values)}")
            self._compare(came)
        finally:
            self.over.set()
            self.disk.make_room()

    def _values(self, handle: Any, values: dict[str, Any]) -> Any:
        try:
            if self.is_study:
                return self.session.watch_study(handle, values, show=False)
            return self.session.watch(handle, values, show=False)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
            self.counts.fault("values lost", f"{self.name}: {type(error).__name__}: {error}")
            return None

    def _read_while_full(self) -> None:
        """The list is readable, by a kernel that has just come as well; it and what is refused say how things are."""
        if not self.session.settings.database_file.exists():
            return  # nothing was ever recorded
        try:
            known = {info.run_id: info for info in self.session.registry.runs()}
        except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
            self.counts.fault("unreadable", f"{self.name}: {error}")
            return
        info = known.get(self.run_id)
        if info is not None and info.state.is_final and not info.incomplete:
            self._compare_points(info)
        try:
            self.session.train("1", namespace={}, show=False, workers=1, framework="none")
            self.counts.fault("not refused", self.name)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is counted)
            if REFUSED not in str(error):
                self.counts.fault("not refused", f"{self.name}: {error}")
        if self.moment not in NEW_KERNELS_AT:
            return
        fresh = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=False)
        if fresh.returncode:
            self.counts.fault("unreadable", f"{self.name}, from a new kernel: {fresh.stderr.strip().splitlines()[-1]}")

    # -- there is room -------------------------------------------------------------------------------------------------

    def _compare(self, came: Any) -> None:
        began = time.monotonic()
        while (info := self._recorded()) is None or not info.state.is_final or info.incomplete:
            if time.monotonic() - began > WHOLE_WITHIN_S:
                state = "no record" if info is None else f"{info.state.value}, lacks {info.incomplete!r}"
                self.counts.fault("record wrong", f"{self.name}: after {WHOLE_WITHIN_S:g} s {state}")
                return
            time.sleep(0.1)
        self.counts.whole_after_s.append(time.monotonic() - began)
        summary = came.run if hasattr(came, "run") else came.summary
        said = {"notebook": summary.state.value, "record": info.state.value, "journal": _last_state(self.session, info)}
        said["rest"] = self._asked(f"/runs/{self.run_id}")["state"]
        if set(said.values()) != {"done"} or info.incomplete:
            self.counts.fault("record wrong", f"{self.name}: {said}, incomplete {info.incomplete!r}")
        self._compare_points(info)
        if self.is_study and came.best_value != (TRIALS - 1) / 5:
            self.counts.fault("values lost", f"{self.name}: best {came.best_value}, {came.best}")
        self._look_for_halves()

    def _recorded(self) -> Any:
        # what a user does who looks: the list completes what it can
        self.session.reconcile()
        return {info.run_id: info for info in self.session.registry.runs()}.get(self.run_id)

    def _compare_points(self, info: Any) -> None:
        registry, wanted = self.session.registry, {}
        if self.is_study:
            for child in registry.children(info):
                number = int(child.name.rpartition("-")[2])
                points = registry.metrics(child).get("score", ())
                wanted[number] = (child.state.value, [(step, value) for step, value, _ in points])
            truth = {n: ("done", [(step, n / step) for step in range(1, 6)]) for n in range(TRIALS)}
        else:
            points = registry.metrics(info).get("loss", ())
            wanted = {0: [(step, value) for step, value, _ in points]}
            truth = {0: [(step, 1 / step) for step in range(1, STEPS + 1)]}
            output = registry.output(info)
            if output != "".join(f"step {step}\n" for step in range(1, STEPS + 1)):
                self.counts.fault("record wrong", f"{self.name}: output of {len(output)} characters")
        if wanted != truth:
            self.counts.fault("record wrong", f"{self.name}: recorded {wanted}"[:600])

    def _asked(self, path: str) -> Any:
        from hops_magic.api import endpoints
        from hops_magic.api.context import Context
        from hops_magic.api.routing import answer

        assert endpoints.__all__
        context = Context(self.session)
        return answer(context, "GET", path, {})[0]

    def _look_for_halves(self) -> None:
        home = self.session.settings.home
        ours = [file for file in home.rglob("*") if file.is_file() and "features" not in file.parts]
        halves = [str(file.relative_to(home)) for file in ours if file.suffix in (".part", ".tmp", ".draft")]
        for file in ours:
            texts = (
                file.read_text().splitlines()
                if file.suffix == ".jsonl"
                else [file.read_text()]
                if file.suffix == ".json"
                else []
            )
            try:
                for text in texts:
                    json.loads(text)
            except ValueError as error:
                halves.append(f"{file.relative_to(home)}: {error}")
        if halves:
            self.counts.fault("left half-written", f"{self.name}: {halves}")


FRESH = "import hops_magic as hops\nhops.experiments.runs()"


def _log(folder: Path) -> bytes:
    try:
        return (folder / "events.jsonl").read_bytes()
    except OSError:
        return b""


def _is_final(folder: Path) -> bool:
    from hops_magic.engine.journal import last_state

    last = last_state(folder)
    return last is not None and last.state.is_final


def _last_state(session: Any, info: Any) -> str:
    states = [event.state.value for event in session.registry.journal(info) if event.kind == "state"]
    return states[-1] if states else "nothing"


def full_disk(of_a_run: list[str], of_a_study: list[str]) -> Counts:
    """Try all moments on one cluster."""
    counts = Counts()
    with surroundings() as root, small(root / "home", DISK_MIB) as disk:
        from hops_magic.session import Session
        from hops_magic.settings import Settings

        session = Session(Settings.from_environment())
        session.clusters.start(PARALLEL, 1)
        try:
            for moment in of_a_run:
                Case(session, disk, counts, moment, is_study=False).run()
            for moment in of_a_study:
                Case(session, disk, counts, moment, is_study=True).run()
        finally:
            session.clusters.stop(force=True)
    return counts


def table(counts: Counts) -> Table:
    question = (
        f"The disk of `HOPS_HOME` ({DISK_MIB} MiB) gets full, to the last byte, at a moment of a run of two ranks and of a "
        f"study of {TRIALS} trials, {PARALLEL} at once (`python -m benchmarks.full_disk`): before and after it begins, "
        "while it reports, prints, packs its values, ends and is recorded, and with 4 to 512 KiB left. Values must come "
        "back while the disk is full; the list of runs must be readable meanwhile, by a new kernel too, and the next run "
        "refused; when there is room, notebook, record, journal and REST must tell the same, with every point, and no file "
        "may be half-written."
    )
    rows: list[list[object]] = [["moments of a run", counts.tried["run"]], ["moments of a study", counts.tried["study"]]]
    rows += [[kind, len(stories)] for kind, stories in counts.faults.items()]
    if counts.whole_after_s:
        rows.append(["record whole after there was room, at most (s)", max(counts.whole_after_s)])
    return Table("A full disk", question, ["what", "count"], rows)


def main() -> None:
    if os.geteuid() and "HOPS_MAY_MOUNT" not in os.environ:
        os.environ["HOPS_MAY_MOUNT"] = "1"
        command = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            sys.executable,
            "-m",
            "benchmarks.full_disk",
            *sys.argv[1:],
        ]
        os.execvp(command[0], command)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_disk", description="Fill the disk, and count what is lost."
    )
    parser.add_argument("--run", action="append", metavar="MOMENT", help=f"of {', '.join(OF_A_RUN)}; all by default")
    parser.add_argument("--study", action="append", metavar="MOMENT", help=f"of {', '.join(OF_A_STUDY)}; all by default")
    asked = parser.parse_args()
    is_all = asked.run is None and asked.study is None
    counts = full_disk(OF_A_RUN if is_all else asked.run or [], OF_A_STUDY if is_all else asked.study or [])
    section = table(counts).markdown(datetime.datetime.now(datetime.UTC).date())
    print(section)
    if counts.missed:
        print("the moment never came in", ", ".join(counts.missed))
    if is_all:
        text = DOCUMENT.read_text()
        DOCUMENT.write_text(with_sections(text, text[: text.index("\n## ")], [section]))
    sys.exit(any(counts.faults.values()))


if __name__ == "__main__":
    main()
