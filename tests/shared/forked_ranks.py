"""Run a body as ranks of a framework, or as one plain process: processes forked from one that has executed no op."""

import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
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

    result: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    error: str = ""


def ranks(body, framework, world=2, *, folder=None, before=lambda: None, strategy=None, settings=None, **options):
    """Run a body in so many ranks of a framework; with one, as it runs a single rank. Returns what each left."""
    with tempfile.TemporaryDirectory(prefix="hops-") as own:
        sockets = Path(own)
        listeners, addresses = zip(*(listen(sockets) for _ in range(world)), strict=True)
        checkpoints = Path(folder or own) / "checkpoints"
        checkpoints.mkdir(exist_ok=True, parents=True)
        known = {"attempt": 0, "batch": "global", "checkpoint_s": None, "stop_requested": lambda: False}

        def run(rank, events):
            before()
            collective = (
                Alone()
                if world == 1
                else connect_ring(rank, world, addresses, token=b"t" * 32, listener=listeners[rank], timeout_s=60)
            )
            context = RankContext(
                run_id="test",
                rank=rank,
                world_size=world,
                seed=SEED,
                threads=1,
                gpus=(),
                strategy=strategy or ("collective" if world > 1 else "none"),
                checkpoint_dir=checkpoints,
                scratch_dir=Path(own) / "scratch",
                settings=settings or {},
                collective=collective,
                emit=events.append,
                **{**known, **options},
            )
            enter_process(context)
            with framework.session(context) as extra:
                result = body(**extra) if body.__code__.co_argcount else body()
            collective.close()
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
    tempfile.tempdir = str(path.parent)  # what libraries would delete when a process exits goes with the folder
    try:
        ended.result = run(rank, ended.events)
    except BaseException:  # noqa: BLE001 (told to the parent)
        ended.error = traceback.format_exc()
    try:
        if os.getpid() == me:  # a process that the body has forked has nothing to tell
            path.write_bytes(pickle.dumps(ended))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _load(path):
    return pickle.loads(path.read_bytes()) if path.exists() else Ended(error="the process left nothing")
