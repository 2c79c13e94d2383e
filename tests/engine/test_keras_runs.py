"""Keras on a real cluster: a rank or a worker that is killed costs time, never the result."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from test_runs import nothing_is_left, until
from waiting import wait_until

from hops_magic.runs.states import RunState
from hops_magic.training import collect, follow

CELL = """
import keras
import numpy as np
rng = np.random.default_rng(1)
x = rng.normal(size=(256, 8)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        import time
        time.sleep(pause)
history = model.fit(x, y, batch_size=32, epochs=8, verbose=0, callbacks=[Slow()])
weights, losses = model.get_weights(), history.history["loss"]
"""
OPTIONS = {"framework": "keras", "seed": 5, "out": ("weights", "losses")}


@pytest.fixture(scope="module")
def undisturbed(request):
    return {}


def trained(run_cell, **options):
    namespace = {"pause": 0.0}
    run_cell(CELL, namespace, **OPTIONS, **options)
    return namespace


def assert_same(found, expected):
    for mine, theirs in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert found["losses"] == expected["losses"]


@pytest.mark.parametrize("victim", ["rank 0", "rank 1", "worker"])
def test_a_run_that_lost_a_process_ends_as_an_undisturbed_one(victim, launch, run_cell, cluster, home, undisturbed):
    if not undisturbed:
        undisturbed.update(trained(run_cell, workers=2))
    namespace = {"pause": 0.4}
    handle = launch(CELL, namespace, workers=2, restarts=3, **OPTIONS)
    run = until(handle, lambda run: run.checkpoint is not None and run.checkpoint.epoch >= 2)
    if victim == "worker":
        address = run.ranks[1].worker
        pid = cluster.client.run(os.getpid, workers=[address])[address]
    else:
        pid = run.ranks[int(victim[-1])].pid
    os.kill(pid, signal.SIGKILL)
    done = collect(handle, namespace, follow(handle))
    assert done.run.state is RunState.DONE
    assert len(done.run.restarts) == 1
    assert_same(namespace, undisturbed)
    # a run that is done leaves no checkpoints on the disk, only its record
    assert not list((home / "runs" / handle.run_id / "checkpoints").glob("fit-*"))
    # what was done was not done again: the curve has each epoch once
    (loss,) = [curve for key, curve in done.run.curves.items() if key[:2] == ("loss", "epoch")]
    assert loss.steps == tuple(range(1, 9))
    wait_until(lambda: nothing_is_left(cluster, home, [rank.pid for rank in run.ranks.values()]), "clean-up")
    wait_until(lambda: len(cluster.client.sync(cluster.client.scheduler.hops_state)["slots"]) == 4, "the worker's return")


def test_a_stop_gives_back_the_model_as_far_as_it_is(launch):
    namespace = {"pause": 0.3}
    handle = launch(CELL.replace("epochs=8", "epochs=500"), namespace, workers=2, **OPTIONS)
    until(handle, lambda run: run.checkpoint is not None)
    handle.stop()
    stopped = collect(handle, namespace, follow(handle))
    assert stopped.run.state is RunState.STOPPED
    assert 1 <= len(namespace["losses"]) < 100


def test_code_that_tensorflow_generates_goes_with_the_run(run_cell):
    namespace = {}
    run_cell(
        """
import sys
import tensorflow as tf

@tf.function
def halves(x):
    while x > 1:
        x = x / 2
    return x

found = float(halves(tf.constant(8.0)))
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("__autograph_generated_file")]
""",
        namespace,
        framework="keras",
        workers=1,
        out=("found", "files"),
    )
    assert namespace["found"] == 1.0
    assert namespace["files"]
    assert not [file for file in namespace["files"] if Path(file).exists()]
