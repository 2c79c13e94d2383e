"""All-reduce of two ranks: ours in shared memory, over Unix sockets and TCP, against TensorFlow's own collective runtime."""

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
from hops_magic.frameworks import ring as ring_module
from hops_magic.frameworks.rendezvous import connect_ring, listen

SIZES = (1_000_000, 10_000_000, 50_000_000)
REPEATS = 7

# both contestants are called from a tf.function, as a training step would, and take turns in the same two processes
STEP = """
import json, os, socket, statistics, sys, time
rank = int(sys.argv[1])
config, sizes, repeats = (json.loads(word) for word in sys.argv[2:])
task = {"type": "worker", "index": rank}
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": config["workers"]}, "task": task})
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
# starts TensorFlow's collective runtime, which then serves the ops that the strategy itself uses
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from hops_magic.frameworks.rendezvous import connect_ring
listener = socket.socket(fileno=config["listeners"][rank])
ring = connect_ring(rank, 2, config["addresses"], token=b"b" * 32, listener=listener, timeout_s=60)

def theirs(x):
    return tf.raw_ops.CollectiveReduceV2(
        input=x, group_size=2, group_key=7001, instance_key=x.shape[0], ordering_token=[], merge_op="Add",
        final_op="Id", communication_hint="auto", timeout_seconds=0,
    )

def ours(x):
    y = tf.numpy_function(ring.all_reduce, [x], tf.float32, stateful=True)
    y.set_shape(x.shape)
    return y

for size in sizes:
    steps = {"theirs": tf.function(theirs), "ours": tf.function(ours)}
    times = {name: [] for name in steps}
    x = tf.ones([size])
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            assert float(step(x)[0]) == 2.0
            if repeat:  # the first one traces
                times[name].append(time.perf_counter() - began)
    if rank == 0:
        for name, taken in times.items():
            print("median", name, size, statistics.median(taken), flush=True)
os._exit(0)
"""


def in_tensorflow() -> dict[tuple[str, int], float]:
    """Measure ``ours`` against ``theirs`` in two fresh processes; median seconds by contestant and size."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        # TensorFlow is told ports and binds them itself
        ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in ports]
        for each in ports:
            each.close()
        pairs = [listen(Path(folder)) for _ in range(2)]
        fds = [each.fileno() for each, _ in pairs]
        config = {"workers": workers, "addresses": [address for _, address in pairs], "listeners": fds}
        arguments = [json.dumps(config), json.dumps(SIZES), str(REPEATS)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", STEP, str(rank), *arguments], env=env, stdout=subprocess.PIPE, text=True, pass_fds=fds
            )
            for rank in range(2)
        ]
        said = processes[0].communicate(timeout=600)[0]
        for process in processes:
            if process.wait(timeout=60):
                raise RuntimeError("a contestant failed: its error stands above")
        for each, _ in pairs:
            each.close()
    lines = [line.split() for line in said.splitlines() if line.startswith("median")]
    return {(name, int(size)): float(seconds) for _, name, size, seconds in lines}


def bare(place: Path | str, *, shared: bool = False) -> dict[int, float]:
    """Measure the ring without TensorFlow around it; median seconds by size.

    Parameters
    ----------
    shared
        Let ranks of one host share memory, as they do.
    """
    pairs = [listen(place) for _ in range(2)]
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()

    def rank(number: int) -> None:
        addresses = [address for _, address in pairs]
        if not shared:
            ring_module.can_be_passed = lambda _: False
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
        shared = bare(Path(folder), shared=True)
    tcp = bare("127.0.0.1")
    found = in_tensorflow()
    ours, theirs = ({size: found[name, size] for size in SIZES} for name in ("ours", "theirs"))
    result = Table(
        "All-reduce",
        "Two ranks of one thread, float32, milliseconds (medians). The rival is TensorFlow's collective runtime, as "
        "MultiWorkerMirroredStrategy starts and uses it; both are called from a tf.function, in turns. Aim: no slower.",
        [
            "floats",
            "TensorFlow's collectives",
            "ours in TensorFlow",
            "ratio",
            "alone, shared memory",
            "alone, ring over Unix sockets",
            "alone, ring over TCP",
        ],
    )
    for size in SIZES:
        ratio = ours[size] / theirs[size]
        alone = [1e3 * each[size] for each in (shared, unix, tcp)]
        result.rows.append([f"{size:,}", 1e3 * theirs[size], 1e3 * ours[size], ratio, *alone])
    worst = max(ours[size] / theirs[size] for size in SIZES)
    near = max(shared[size] / unix[size] for size in SIZES)
    result.verdict = f"At worst {worst:.2f} x the rival's time; in shared memory at worst {near:.2f} x the ring's."
    return result


if __name__ == "__main__":
    print(table().markdown())
