"""A run that needs no cluster: says what a real one says, as fast as it is told, until it is stopped."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance, advance_all
from hops_magic.runs.states import RunState
from hops_magic.widgets import RunView, detect, open_view

REPORT = (
    "<table><thead><tr><th>name</th><th>type</th><th>size</th><th>travels</th></tr></thead><tbody>"
    "<tr><td>x_train</td><td>ndarray float32 (60000, 28, 28, 1)</td><td>179.4 MiB</td><td>mapped once per node</td></tr>"
    "<tr><td>y_train</td><td>ndarray int64 (60000,)</td><td>468.8 KiB</td><td>with the program</td></tr></tbody></table>"
)
FRAME = (
    "<table class='dataframe'><thead><tr><th>class</th><th>images</th><th>accuracy</th></tr></thead><tbody>"
    "<tr><td>0</td><td>178</td><td>0.99</td></tr><tr><td>1</td><td>182</td><td>0.97</td></tr></tbody></table>"
)


def beginning(ranks: int) -> Iterator[ev.Event]:
    now = time.time()
    yield ev.StateChanged(at=now, state=RunState.STARTING)
    for rank in range(ranks):
        yield ev.RankStarted(
            at=now, rank=rank, attempt=0, pid=4100 + rank, worker=f"tls://10.0.0.{rank}:4000", host="node-a"
        )
    yield ev.StateChanged(at=now, state=RunState.RUNNING)
    yield ev.Output(rank=0, stream="stdout", text="x_train: float32, shape (60000, 28, 28, 1)\n")
    yield ev.Output(rank=1, stream="stderr", text="\x1b[33mW\x1b[0m two threads share a core\n")


def step(rank: int, epoch: int, epochs: int, at: int, steps: int) -> Iterator[ev.Event]:
    speed = 5100 + 90 * rank + 40 * math.sin(epoch * steps + at)
    yield ev.Progress(rank=rank, epoch=epoch, epochs=epochs, step=at, steps=steps, examples_per_s=speed)
    yield ev.Resources(rank=rank, cpu_percent=97.0 + rank, memory_bytes=1_240_000_000 + rank * 9_000_000)


def epoch_end(epoch: int, epochs: int, ranks: int) -> Iterator[ev.Event]:
    loss, accuracy = 2.3 * math.exp(-epoch / 2), 1 - 0.9 * math.exp(-epoch / 1.5)
    values = {"loss": loss, "accuracy": accuracy, "val_loss": loss * 1.1 + 0.03, "val_accuracy": accuracy - 0.02}
    yield ev.Metrics(rank=0, step=epoch, scope="epoch", values=values)
    for rank in range(ranks):
        yield ev.Progress(rank=rank, epoch=epoch, epochs=epochs, step=0, examples_per_s=5100 + 90 * rank)
    yield ev.Checkpointed(epoch=epoch, step=0, path="checkpoints/last")
    yield ev.Output(rank=0, stream="stdout", text=f"epoch {epoch}: \x1b[32maccuracy {accuracy:.3f}\x1b[0m\n")


def training(*, ranks: int, epochs: int, steps: int) -> Iterator[ev.Event]:
    yield from beginning(ranks)
    for epoch in range(epochs):
        for at in range(1, steps + 1):
            total = epoch * steps + at
            for rank in range(ranks):
                yield from step(rank, epoch, epochs, at, steps)
            loss = 2.3 * math.exp(-total / (2 * steps)) + 0.04 * math.sin(total * 1.7)
            accuracy = 1 - 0.9 * math.exp(-total / (1.5 * steps)) + 0.01 * math.sin(total)
            yield ev.Metrics(rank=0, step=total, scope="batch", values={"loss": loss, "accuracy": accuracy})
        yield from epoch_end(epoch + 1, epochs, ranks)
    yield ev.Displayed(rank=0, data={"text/html": FRAME, "text/plain": "class images"})


def hostile() -> Iterator[ev.Event]:
    """Every text that a user or a rank can choose, chosen badly."""
    bad = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>\u202e\x1b[31m"
    huge = "w" * 200_000
    yield from beginning(2)
    yield ev.Metrics(rank=0, step=1, scope="epoch", values={bad: 1.0, huge[:3000]: float("nan"), "loss": float("inf")})
    yield ev.Output(rank=0, stream="stdout", text=f"{bad}\n{huge}\n\x1b[2J\x00\x9b31m")
    yield ev.Warned(message=bad + huge)
    yield ev.Progress(rank=0, phase=bad, step=10**12, examples_per_s=float("nan"))
    yield ev.Displayed(
        rank=0, data={"text/html": f"<b>kept</b>{bad}<a href='javascript:window.pwned=1'>link</a><iframe srcdoc='x'>"}
    )
    yield ev.Displayed(rank=0, data={"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'/>"})
    yield ev.Restarted(attempt=1, reason=bad + huge)
    yield ev.RankError(rank=0, name="ValueError", message=bad, traceback=bad + huge)
    yield ev.RankError(rank=1, name="ValueError", message=bad, traceback=bad)


def waiting() -> Run:
    """A run that stands in the queue."""
    return advance(Run(run_id="run-q", name="resnet", world_size=3), ev.Queued(position=2, needed=3, free=2))


def failed() -> Run:
    """A run that was restarted once and failed in the end, on many ranks with GPUs."""
    now = time.time()
    events: list[ev.Event] = [ev.StateChanged(at=now - 4000, state=RunState.RUNNING)]
    for rank in range(12):
        events.append(
            ev.RankStarted(rank=rank, attempt=0, pid=900 + rank, worker="", host=f"gpu-{rank // 4}", gpus=(str(rank % 4),))
        )
        events.append(ev.Progress(rank=rank, epoch=2, epochs=5, step=61 - rank % 3, steps=200, examples_per_s=812.0 + rank))
        use = {"gpu_percent": 93.0 + rank % 5, "gpu_memory_bytes": 31 * 2**30}
        events.append(ev.Resources(rank=rank, cpu_percent=240.0, memory_bytes=6 * 2**30, **use))
    events += [ev.Metrics(rank=0, step=step, scope="batch", values={"loss": 4 / step}) for step in range(1, 500)]
    events.append(ev.Restarted(attempt=1, reason="rank 7 was killed by SIGKILL (memory ran out on gpu-1)"))
    trace = (
        "\x1b[31mValueError\x1b[0m in cell 5, line 3\n      2 model.compile('adam')\n\x1b[32m----> 3 model.fit(x, y)\x1b[0m"
    )
    events += [
        ev.RankError(rank=rank, name="ValueError", message="x has 10 rows, y has 9", traceback=trace) for rank in range(12)
    ]
    events.append(ev.StateChanged(at=now, state=RunState.FAILED, reason="all ranks raised ValueError"))
    return advance_all(Run(run_id="run-f", name="resnet-50", experiment="imagenet", world_size=12), events)


def follow(events: Iterator[ev.Event], *, pace_s: float = 0.01, name: str = "digits-cnn") -> Run | None:
    """Show the events as a cell's magic does: the cell is busy meanwhile, except where that would hide the view."""
    stop = threading.Event()
    run = Run(run_id="digits-cnn-7f3a", name=name, experiment="digits", world_size=2, created_at=time.time())
    # opened by the cell itself: what a thread displays later belongs to no cell
    view = open_view(run, on_stop=stop.set, report_html=REPORT)
    if not detect().is_blocked_by_cells:
        return _follow(view, run, events, stop, pace_s)
    threading.Thread(target=_follow, args=(view, run, events, stop, pace_s), daemon=True).start()
    return None


def _follow(view: RunView, run: Run, events: Iterator[ev.Event], stop: threading.Event, pace_s: float) -> Run:
    for event in events:
        run = advance(run, event)
        view.update(run)
        if stop.wait(pace_s):
            run = advance(run, ev.StateChanged(at=time.time(), state=RunState.STOPPING))
            view.update(run)
            run = advance(run, ev.StateChanged(at=time.time(), state=RunState.STOPPED, reason="stopped by you"))
            break
    else:
        run = advance(run, ev.StateChanged(at=time.time(), state=RunState.DONE))
    view.close(run)
    return run
