"""All-reduce of two ranks: our ring over Unix sockets and TCP against TensorFlow's own collective runtime."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Table
from hops_magic.frameworks.rendezvous import connect_ring, listen

SIZES = (1_000_000, 10_000_000, 50_000_000)
REPEATS = 7

# both contestants are called from a tf.function, as a training step would
STEP = """
import json, sys, time, os, statistics
import numpy as np
kind, rank = sys.argv[1], int(sys.argv[2])
config, sizes, repeats = (json.loads(word) for word in sys.argv[3:])
if kind == "tensorflow":
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": config["workers"]}, "task": {"type": "worker", "index": rank}}
    )
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
if kind == "tensorflow":
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    def reduce(x):
        return strategy.run(lambda v: tf.distribute.get_replica_context().all_reduce("SUM", v), args=(x,))
else:
    import socket
    from hops_magic.frameworks.rendezvous import connect_ring
    listener = socket.socket(fileno=config["listeners"][rank])
    ring = connect_ring(rank, 2, config["addresses"], token=b"b" * 32, listener=listener, timeout_s=60)
    def reduce(x):
        y = tf.numpy_function(ring.all_reduce, [x], tf.float32, stateful=True)
        y.set_shape(x.shape)
        return y
for size in sizes:
    step = tf.function(reduce)
    x = tf.ones([size])
    step(x)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        float(step(x)[0])
        times.append(time.perf_counter() - began)
    if rank == 0:
        print("median", size, statistics.median(times), flush=True)
os._exit(0)
"""


def in_tensorflow(kind: str) -> dict[int, float]:
    """Measure a contestant in two fresh processes; median seconds by size."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        listeners: list[socket.socket] = []
        if kind == "tensorflow":
            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
            config = {"workers": [f"127.0.0.1:{each.getsockname()[1]}" for each in listeners]}
            for each in listeners:
                each.close()
        else:
            pairs = [listen(Path(folder)) for _ in range(2)]
            listeners = [each for each, _ in pairs]
            config = {"addresses": [address for _, address in pairs], "listeners": [each.fileno() for each in listeners]}
        fds = [each.fileno() for each in listeners if each.fileno() >= 0]
        arguments = [json.dumps(config), json.dumps(SIZES), str(REPEATS)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", STEP, kind, str(rank), *arguments],
                env=env,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=fds,
            )
            for rank in range(2)
        ]
        said = processes[0].communicate(timeout=600)[0]
        processes[1].wait()
        for each in listeners:
            each.close()
    lines = [line.split() for line in said.splitlines() if line.startswith("median")]
    return {int(size): float(seconds) for _, size, seconds in lines}


def bare(place: Path | str) -> dict[int, float]:
    """Measure the ring without TensorFlow around it; median seconds by size."""
    pairs = [listen(place) for _ in range(2)]
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()

    def rank(number: int) -> None:
        addresses = [address for _, address in pairs]
        ring = connect_ring(number, 2, addresses, token=b"b" * 32, listener=pairs[number][0], timeout_s=30)
        found = {}
        for size in SIZES:
            array, times = np.ones(size, np.float32), []
            for _ in range(REPEATS):
                began = time.perf_counter()
                ring.all_reduce(array)
                times.append(time.perf_counter() - began)
            found[size] = statistics.median(times)
        answers.put((number, found))

    processes = [fork.Process(target=rank, args=(number,)) for number in range(2)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=600) for _ in range(2))
    for process in processes:
        process.join()
    return found[0]


def table() -> Table:
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        unix = bare(Path(folder))
    tcp = bare("127.0.0.1")
    theirs, ours = in_tensorflow("tensorflow"), in_tensorflow("ring")
    result = Table(
        "All-reduce",
        "Two ranks of one thread, float32, milliseconds (medians). The rival is TensorFlow's MultiWorkerMirroredStrategy; "
        "both are called from a tf.function. Aim: no slower.",
        ["floats", "MultiWorkerMirrored", "ring in TensorFlow", "ratio", "ring alone, Unix sockets", "ring alone, TCP"],
    )
    for size in SIZES:
        ratio = ours[size] / theirs[size]
        result.rows.append([f"{size:,}", 1e3 * theirs[size], 1e3 * ours[size], ratio, 1e3 * unix[size], 1e3 * tcp[size]])
    worst = max(ours[size] / theirs[size] for size in SIZES)
    result.verdict = f"At worst {worst:.2f} x the rival's time."
    return result


if __name__ == "__main__":
    print(table().markdown())
