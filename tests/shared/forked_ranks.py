"""Run a body as ranks of a framework, or as one plain process: processes forked from one that has executed no op."""

import os
import pickle
import signal
import tempfile
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from hops_magic.frameworks.context import RankContext, enter_process
from hops_magic.frameworks.rendezvous import connect_ring, listen
from hops_magic.frameworks.ring import Alone

DEADLINE_S = 240
SEED = 11


@dataclass
class Ended:
    """What one process left: its result, its events, or its error."""

    result: object = None
    events: list = field(default_factory=list)
    error: str = ""


def ranks(body, framework, world=2, **options):
    """Run a body in so many ranks; with one, as the framework runs a single rank."""
    with tempfile.TemporaryDirectory(prefix="hops-") as own:
        folder = Path(own)
        listeners, addresses = zip(*(listen(folder) for _ in range(world)), strict=True)
        checkpoints = folder / "checkpoints"
        checkpoints.mkdir()

        def run(rank, events):
            listener = listeners[rank]
            joined = (
                Alone()
                if world == 1
                else connect_ring(rank, world, addresses, token=b"t" * 32, listener=listener, timeout_s=60)
            )
            known = {
                "run_id": "test",
                "attempt": 0,
                "seed": SEED,
                "threads": 1,
                "gpus": (),
                "strategy": "collective" if world > 1 else "none",
                "batch": "global",
                "checkpoint_s": None,
            }
            context = RankContext(
                rank=rank,
                world_size=world,
                checkpoint_dir=checkpoints,
                scratch_dir=folder / "scratch",
                collective=joined,
                emit=events.append,
                stop_requested=lambda: False,
                **{**known, **options},
            )
            enter_process(context)
            with framework.session(context) if framework else nullcontext():
                result = body()
            joined.close()
            return result

        try:
            return forked(world, run)
        finally:
            for listener in listeners:
                listener.close()


def forked(count, run):
    """Run ``run(rank, events)`` in so many processes; returns what each left."""
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        waiting = set()
        for rank in range(count):
            pid = os.fork()
            if pid == 0:
                _child(rank, run, Path(folder) / str(rank))
            waiting.add(pid)
        end = time.monotonic() + DEADLINE_S
        while waiting and time.monotonic() < end:
            waiting -= {pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0]}
            time.sleep(0.01)
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert not waiting, f"{len(waiting)} of {count} processes did not end within {DEADLINE_S} s"
        return [_load(Path(folder) / str(rank)) for rank in range(count)]


def _child(rank, run, path):
    me, ended = os.getpid(), Ended()
    try:
        ended.result = run(rank, ended.events)
    except BaseException as error:  # noqa: BLE001
        ended.error = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    if os.getpid() == me:  # a process that the body has forked has nothing to tell
        draft = path.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(ended))
        draft.rename(path)
    os._exit(0)


def _load(path):
    return pickle.loads(path.read_bytes()) if path.exists() else Ended(error="the process left nothing")
