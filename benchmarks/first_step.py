"""From cell to first training step: two ranks on a warm cluster against a script that spawns two fresh processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import hops_magic as hops
from benchmarks.table import Table, interleaved

SCRIPT = """
import json, sys, time
rank, ports, out = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
import os
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": [f"127.0.0.1:{p}" for p in ports]}, "task": {"type": "worker", "index": rank}}
)
import numpy as np, tensorflow as tf, tf_keras as keras
strategy = tf.distribute.MultiWorkerMirroredStrategy()
class First(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        with open(out, "w") as file:
            file.write(str(time.time()))
        import os
        os._exit(0)
data = np.load(out + ".npz")
with strategy.scope():
    model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(data["x"], data["y"], batch_size=128, epochs=1, verbose=0, callbacks=[First()])
"""

CELL = """
import time
class First(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        first.append(time.time())
        self.model.stop_training = True
first = []
model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, batch_size=128, epochs=1, verbose=0, callbacks=[First()])
moment = first[0]
"""


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(1024, 64)).astype("float32"), rng.integers(0, 10, 1024)


def script_seconds() -> float:
    """Spawn two fresh processes; seconds until both have made a step."""
    with tempfile.TemporaryDirectory() as folder:
        x, y = data()
        outs = [str(Path(folder) / f"rank{rank}") for rank in range(2)]
        for out in outs:
            np.savez(out + ".npz", x=x, y=y)
        sockets = [socket.socket() for _ in outs]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
        began = time.time()
        processes = [
            subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), json.dumps(ports), out], env=env)
            for rank, out in enumerate(outs)
        ]
        for process in processes:
            process.wait()
        return max(float(Path(out).read_text()) for out in outs) - began


def cell_seconds() -> float:
    """Train on the warm cluster; seconds from the call to the first step."""
    import keras

    x, y = data()
    namespace = {"x": x, "y": y, "keras": keras}
    began = time.time()
    hops.train(CELL, namespace=namespace, workers=2, show=False, out=("moment",))
    return namespace["moment"] - began


def table(times: int = 3) -> Table:
    cell_seconds()  # the cluster starts, and imports the framework
    ours, theirs = interleaved(times, cell_seconds, script_seconds)
    result = Table(
        "From cell to first training step",
        "Two ranks, digits-sized MLP. The rival is a plain script that spawns two fresh processes with tf_keras under "
        "MultiWorkerMirroredStrategy. Aim: at most 0.25 x.",
        ["", "seconds (median)", "ratio"],
    )
    result.rows = [["script, 2 fresh processes", theirs, 1.0], ["`%%distributed -n 2`, warm cluster", ours, ours / theirs]]
    result.verdict = f"The cell needs {ours / theirs:.2f} x the script's time."
    return result


if __name__ == "__main__":
    print(table().markdown())
