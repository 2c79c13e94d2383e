"""Metric events of four ranks: a thousand a second, and what a kernel pays; all that they can say, on a busy machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from jupyter_client.manager import start_new_kernel

import hops_magic as hops
from benchmarks.table import Table

SECONDS, RANKS, RATE = 20, 4, 1_000
WITHIN_S = 300
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"

CELL = f"""
import time
import hops_magic as hops
began = time.perf_counter()
for step in range(1, {SECONDS * RATE // RANKS} + 1):
    hops.report(step=step, value=step * 0.5)
    ahead = began + step * {RANKS / RATE} - time.perf_counter()
    if ahead > 0:
        time.sleep(ahead)
"""

MEASURED = """
import json, time
import hops_magic as hops
options = {{"workers": {ranks}, "framework": "none", "show": {show}, "namespace": {{}}}}
hops.train("1", **options)
cpu = time.process_time()
trained = hops.train({cell!r}, name="events", **options)
print("measured", json.dumps({{"cpu": time.process_time() - cpu, "run_id": trained.run.run_id}}))
"""


@dataclass
class Measured:
    """What a kernel says of a run that it followed."""

    cpu: float
    """Seconds of the kernel's process, from the call to the values that came back."""
    run_id: str
    updates: int
    """Messages that the view sent to the browser."""


def followed_by_a_kernel(*, show: bool) -> Measured:
    """Run the cell from a kernel of its own; with a view, this process answers in the browser's place."""
    # the kernel decides how it shows a run, as in JupyterLab
    env = {name: value for name, value in os.environ.items() if name != "HOPS_VIEW"}
    manager, client = start_new_kernel(kernel_name="python3", env=env)
    try:
        request = client.execute(MEASURED.format(ranks=RANKS, show=show, cell=CELL))
        opened, updates, said = "", 0, ""
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            message = client.get_iopub_msg(timeout=WITHIN_S)
            kind, content = message["msg_type"], message["content"]
            if kind == "comm_open" and "_esm" in content["data"].get("state", {}):
                opened = content["comm_id"]
            elif kind == "display_data" and WIDGET_TYPE in content["data"]:
                # a browser that opens the view asks for what it missed, and gets every update from then on
                ready = {"comm_id": opened, "data": {"method": "custom", "content": {"type": "ready"}}}
                client.shell_channel.send(client.session.msg("comm_msg", ready))
            elif kind == "comm_msg" and content["data"].get("method") == "custom":
                updates += 1
            elif kind == "stream":
                said += content["text"]
            elif kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle" and message["parent_header"]["msg_id"] == request:
                found = json.loads(said.partition("measured ")[2].splitlines()[0])
                return Measured(**found, updates=updates)
        raise TimeoutError(f"the kernel was not done within {WITHIN_S} s")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


FLOOD, BURNERS, RECORD_WITHIN_S = 100_000, 3, 900.0
FLOODING = f"""
import hops_magic as hops
for step in range(1, {FLOOD} + 1):
    hops.report(step=step, value=step * 0.5)
"""


@dataclass
class Flooded:
    """What became of a run that said all it could."""

    back_after_s: float
    """Seconds from the exit of the last rank to the cell's return."""
    killed: int
    recorded: int


@contextlib.contextmanager
def burners(count: int) -> Iterator[None]:
    """Keep so many cores busy meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _is_whole(run_id: str) -> bool:
    info = hops.experiments.run(run_id)
    return info.state.is_final and not info.incomplete


def flooded() -> Flooded:
    """Let each rank say as many metrics as it can, beside processes that take the cores."""
    with burners(BURNERS):
        trained = hops.train(FLOODING, name="flood", workers=RANKS, framework="none", show=False, namespace={})
        back_at = time.time()
    ends = time.monotonic() + RECORD_WITHIN_S
    while not _is_whole(trained.run.run_id) and time.monotonic() < ends:
        time.sleep(1.0)
    metrics = hops.experiments.metrics(trained.run.run_id)
    recorded = sum(len(points) for name, points in metrics.items() if name.startswith("value"))
    return Flooded(back_at - (trained.run.ended_at or 0.0), len(trained.run.restarts), recorded)


def table() -> Table:
    cluster = hops.cluster.current()
    cluster.scale(max(RANKS, len(cluster.status().workers)))
    result = Table(
        "Events",
        f"{RANKS} ranks say {RATE:,} metric events a second for {SECONDS} s. A kernel follows the run, without a view and "
        "with that of a notebook: a client takes its messages in the browser's place, what a browser draws is not counted. "
        "Aims: kernel CPU under 10 %, nothing lost.",
        ["view", "said", "recorded", "kernel CPU (% of one core)", "messages to the browser"],
    )
    worst, lost = 0.0, 0
    for view, show in (("none", False), ("notebook", True)):
        measured = followed_by_a_kernel(show=show)
        metrics = hops.experiments.metrics(measured.run_id)
        recorded = sum(len(points) for name, points in metrics.items() if name.startswith("value"))
        # of the time that the events are meant to take: a busy machine, which stretches it, must not flatter the kernel
        percent = 100 * measured.cpu / SECONDS
        result.rows.append([view, SECONDS * RATE, recorded, percent, measured.updates])
        worst, lost = max(worst, percent), lost + SECONDS * RATE - recorded
    flood = flooded()
    lost_of_flood = RANKS * FLOOD - flood.recorded
    result.verdict = (
        f"The kernel used at most {worst:.1f} % of a core; {lost} events were lost. Of {FLOOD:,} metrics from each of "
        f"{RANKS} ranks, as fast as they can say them, beside {BURNERS} processes that take the cores, {lost_of_flood} were "
        f"lost and {flood.killed} ranks killed; the cell was back {flood.back_after_s:.1f} s after its run (aim: 2 s)."
    )
    return result


if __name__ == "__main__":
    if sys.argv[1:] == ["flood"]:
        hops.cluster.current().scale(RANKS)
        print(flooded())
    else:
        print(table().markdown())
