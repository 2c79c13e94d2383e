"""Run a body as one plain process, and as ranks; both forked from a process that has imported Keras and executed no op."""

import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import tensorflow as tf

from hops_magic.frameworks.context import RankContext, enter_process
from hops_magic.frameworks.keras import KerasFramework, hooks, trainer  # noqa: F401
from hops_magic.frameworks.rendezvous import connect_ring, listen
from hops_magic.frameworks.ring import Alone

DEADLINE_S = 240
SEED = 11


@dataclass
class Ended:
    """What one process left: its namespace's ``result``, its events, or its error."""

    result: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    error: str = ""


def plain(body):
    """Run a body in one process with stock Keras, the oracle."""
    ended = alone(body)
    assert not ended.error, ended.error
    return ended.result


def alone(body):
    """Run a body in one process with stock Keras; returns what it left, be it an error."""

    def run(rank, events):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        keras.utils.set_random_seed(SEED)
        return body()

    (ended,) = _fork(1, run)
    return ended


def ranks(
    body,
    world=2,
    *,
    attempt=0,
    folder=None,
    batch="global",
    strategy=None,
    stop=lambda: False,
    checkpoint_s=None,
    check="auto",
    settings=None,
    may_fail=False,
    before=lambda: None,
):
    """Run a body on ``world`` ranks; returns what each left."""
    with tempfile.TemporaryDirectory(prefix="hops-") as own:
        sockets = Path(own)
        listeners, addresses = zip(*(listen(sockets) for _ in range(world)), strict=True)
        checkpoints = Path(folder or own) / "checkpoints"
        checkpoints.mkdir(exist_ok=True, parents=True)

        def run(rank, events):
            before()
            collective = (
                Alone()
                if world == 1
                else connect_ring(rank, world, addresses, token=b"t" * 32, listener=listeners[rank], timeout_s=30)
            )
            context = RankContext(
                run_id="test",
                rank=rank,
                world_size=world,
                attempt=attempt,
                seed=SEED,
                threads=1,
                gpus=(),
                strategy=strategy or ("collective" if world > 1 else "none"),
                batch=batch,
                checkpoint_dir=checkpoints,
                scratch_dir=Path(own) / "scratch",
                checkpoint_s=checkpoint_s,
                check=check,
                settings=settings or {},
                collective=collective,
                emit=events.append,
                stop_requested=stop,
            )
            enter_process(context)
            with KerasFramework().session(context) as extra:
                result = body(**extra) if body.__code__.co_argcount else body()
            collective.close()
            return result

        ended = _fork(world, run)
        for listener in listeners:
            listener.close()
    if not may_fail:
        for each in ended:
            assert not each.error, each.error
    return ended


def _fork(count, run):
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        pids = []
        for rank in range(count):
            pid = os.fork()
            if pid == 0:
                _child(rank, run, Path(folder) / str(rank))
            pids.append(pid)
        end = time.monotonic() + DEADLINE_S
        waiting = set(pids)
        while waiting and time.monotonic() < end:
            for pid in list(waiting):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    waiting.discard(pid)
            time.sleep(0.01)
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if waiting:
            raise AssertionError(f"{len(waiting)} of {count} processes did not end within {DEADLINE_S} s")
        return [_load(Path(folder) / str(rank)) for rank in range(count)]


def _child(rank, run, path):
    ended = Ended()
    tempfile.tempdir = str(path.parent)  # what libraries would delete when a process exits goes with the folder
    try:
        ended.result = run(rank, ended.events)
    except BaseException:  # noqa: BLE001 (told to the parent)
        ended.error = traceback.format_exc()
    try:
        path.write_bytes(pickle.dumps(ended))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _load(path):
    return pickle.loads(path.read_bytes()) if path.exists() else Ended(error="the process left nothing")


def weights(model):
    """A model's weights and its optimizer's state as arrays."""
    found = {f"w{i}": np.array(w) for i, w in enumerate(model.get_weights())}
    for i, v in enumerate(model.optimizer.variables):
        found[f"o{i}"] = np.array(v.numpy())
    return found


def distance(a, b):
    """Largest relative distance between two sets of arrays: of each array's difference to its size."""
    assert a.keys() == b.keys()
    worst = 0.0
    for name in a:
        x, y = np.asarray(a[name], np.float64), np.asarray(b[name], np.float64)
        assert x.shape == y.shape, (name, x.shape, y.shape)
        assert np.isfinite(y).all(), name
        scale = max(float(np.abs(x).max(initial=0.0)), 1e-3)
        worst = max(worst, float(np.abs(x - y).max(initial=0.0)) / scale)
    return worst
