"""What becomes of a run when its kernel ends, and of its view when its page is loaded anew, each way many times."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from kernel_server import KernelServer, ServedKernel
from kernels import DEADLINE_S, Kernel
from waiting import wait_until
from waiting_cells import CELLS, LOAD

from benchmarks import restarts_page
from benchmarks.table import Table

TIMES = 20
CULLING = ("--MappingKernelManager.cull_idle_timeout=3", "--MappingKernelManager.cull_interval=1")


@dataclass(frozen=True)
class Surroundings:
    """Where kernels and servers live, and the kernel from which their runs are looked at."""

    env: Mapping[str, str]
    work: Path
    keeper: Kernel

    def begin(self, kernel: Kernel, kind: str, name: str) -> str:
        """Have a kernel follow a run of its own, or one that the keeper has submitted; return its cell's message."""
        cell = CELLS["distributed"].format(name=name).replace("--name", "--detach --name")
        if kind == "attach" and (error := self.keeper.run(cell).error):
            raise AssertionError(error)
        message = kernel.send(CELLS[kind].format(name=name))
        wait_until((self.work / f"{name}-began").exists, f"the beginning of {name}", deadline_s=DEADLINE_S)
        if kind == "attach":
            kernel.result(message, until=lambda executed: bool(executed.all.strip()))
        return str(message)

    def bring_back(self, kernel: Kernel, kind: str, name: str) -> None:
        """See the run go on, and bring its values into a kernel."""
        self.let_end(name)
        if error := kernel.run(f"%attach {name}").error:
            raise AssertionError(error)
        self.check(kernel, kind, name)

    def let_end(self, name: str) -> None:
        """See the run go on, and let it end."""
        states = self.keeper.ask(f"[run.state.value for run in hops.live_runs() if run.name == {name!r}]")
        if states != "['running']":
            raise AssertionError(f"{name} is {states}")
        (self.work / f"{name}-may-end").touch()

    def check(self, kernel: Kernel, kind: str, name: str) -> None:
        """See that a kernel has the values of a run."""
        wanted = (
            ("(study.state.value, len(study.trials), list(best))", "('done', 2, ['x'])")
            if kind == "tune"
            else ("answer", repr(name))
        )
        if (found := kernel.ask(wanted[0])) != wanted[1]:
            raise AssertionError(f"{name} brought {found}")

    @contextlib.contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """A kernel without a server."""
        kernel = Kernel(self.env, self.work)
        try:
            kernel.run(LOAD)
            yield kernel
        finally:
            kernel.close()


Way = Callable[[Surroundings, str, str], None]


def restarted(around: Surroundings, kind: str, name: str) -> None:
    with around.kernel() as kernel:
        around.begin(kernel, kind, name)
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=DEADLINE_S)
        kernel.run(LOAD)
        around.bring_back(kernel, kind, name)


def shut_down(around: Surroundings, kind: str, name: str) -> None:
    with around.kernel() as kernel:
        around.begin(kernel, kind, name)
        kernel.manager.shutdown_kernel()
        around.bring_back(around.keeper, kind, name)


def server_restarted(around: Surroundings, kind: str, name: str) -> None:
    first = KernelServer(around.env, around.work)
    try:
        kernel = ServedKernel(first)
        kernel.run(LOAD)
        around.begin(kernel, kind, name)
        kernel.page.close()
    finally:
        first.stop()
    second = KernelServer(around.env, around.work)
    try:
        kernel = ServedKernel(second)
        kernel.run(LOAD)
        around.bring_back(kernel, kind, name)
        kernel.close()
    finally:
        second.stop()


def culled(server: KernelServer, around: Surroundings, kind: str, name: str) -> None:
    kernel = ServedKernel(server)
    kernel.run(LOAD)
    around.begin(kernel, kind, name)
    kernel.page.close()
    wait_until(lambda: kernel.state is None, "the kernel's end", deadline_s=DEADLINE_S)
    kernel.close()
    around.bring_back(around.keeper, kind, name)


def spared(server: KernelServer, around: Surroundings, kind: str, name: str) -> None:
    kernel = ServedKernel(server)
    kernel.run(LOAD)
    message = around.begin(kernel, kind, name)
    kernel.page.close()
    idle = server.start_kernel()
    wait_until(lambda: server.state_of(idle) is None, "the end of an idle kernel", deadline_s=DEADLINE_S)
    if kernel.state != "busy":
        raise AssertionError(f"the kernel of {name} is {kernel.state}")
    around.let_end(name)
    if error := kernel.result(message).error:
        raise AssertionError(error)
    around.check(kernel, kind, name)
    kernel.close()


def table() -> Table:
    """Measure all ways."""
    with tempfile.TemporaryDirectory() as folder, surroundings(Path(folder)) as around:
        rows = list(_rows(around))
    with tempfile.TemporaryDirectory() as folder:
        rows += restarts_page.rows(Path(folder), TIMES)
    return table_of(rows)


def table_of(rows: list[list[object]]) -> Table:
    """Return the results as they stand in the documentation."""
    return Table(
        "Restarts in mid-run",
        f"{TIMES} runs each way, by turns of %%distributed, %%tune and a kernel that has attached to a run of another: the "
        "run goes on, and %attach in a kernel that lives brings its values. Real kernels, a real jupyter_server, JupyterLab "
        "in Chromium on the same machine. Reload: from the first frame in which the Lab shows the notebook to the one in "
        "which the run is told as running, with a Stop that can be pressed; each is then stopped by it. Aims: "
        f"{TIMES} of {TIMES}, 2 s.",
        ["what", "held", "median", "worst"],
        rows,
        f"The machine's load over the last quarter of an hour was {os.getloadavg()[2]:.0f}, on "
        f"{len(os.sched_getaffinity(0))} cores: times grow with it.",
    )


@contextlib.contextmanager
def surroundings(root: Path) -> Iterator[Surroundings]:
    """A home, a cluster of two slots and a kernel that stays, for the time of the block."""
    folders = {name: root / name for name in ("home", "runtime", "work")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    env = {
        **os.environ,
        "HOPS_HOME": str(folders["home"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        # what a view in a notebook draws anew now and then is activity to a server, and would put its culling off
        "HOPS_VIEW": "stream",
    }
    keeper = Kernel(env, folders["work"])
    try:
        keeper.run(LOAD)
        if error := keeper.run("%cluster start -n 2 --threads 1").error:
            raise AssertionError(error)
        yield Surroundings(env, folders["work"], keeper)
    finally:
        keeper.close()
        subprocess.run([sys.executable, "-m", "hops_magic", "cluster", "stop", "--force"], env=env, timeout=60, check=True)


def _rows(around: Surroundings) -> Iterator[list[object]]:
    yield _row(around, "restarted", "KernelManager.restart_kernel", restarted)
    yield _row(around, "shut", "KernelManager.shutdown_kernel", shut_down)
    yield _row(around, "server", "the server ends and is started again", server_restarted)
    with _server(around, "--MappingKernelManager.cull_busy=True") as server:
        yield _row(around, "culled", "culled though busy", lambda *which: culled(server, *which))
    with _server(around) as server:
        yield _row(around, "spared", "culling of idle kernels spares the kernel", lambda *which: spared(server, *which))


@contextlib.contextmanager
def _server(around: Surroundings, *options: str) -> Iterator[KernelServer]:
    server = KernelServer(around.env, around.work, *CULLING, *options)
    try:
        yield server
    finally:
        server.stop()


def _row(around: Surroundings, slug: str, title: str, way: Way) -> list[object]:
    held = 0
    for number, kind in enumerate(islice(cycle(CELLS), TIMES)):
        name = f"{slug}-{number}"
        try:
            way(around, kind, name)
        # one that failed is counted and told, and the others are tried
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            (around.work / f"{name}-may-end").touch()
        else:
            held += 1
    print(f"{title}: {held} of {TIMES}", flush=True)
    return [title, f"{held} of {TIMES}", "", ""]


if __name__ == "__main__":
    print(table().markdown())
