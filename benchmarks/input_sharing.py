"""What the input costs each rank: two ranks against one where the input is what takes time, and rows that ranks gather."""

from __future__ import annotations

import time
from dataclasses import dataclass

import hops_magic as hops
from benchmarks.table import Table, interleaved

SETUP = """
import os, time
import hops_magic as hops
# TensorFlow needs a second thread to wait on; pinned, "one thread" means one core
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[hops.rank % len(cores)]})
import numpy as np
import keras
import tensorflow as tf
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
gathered = []
gather = tf.gather
def counting_gather(array, indices, *args, **kwargs):
    def count(size):
        gathered.append(int(size))
        return size
    size = tf.numpy_function(count, [tf.size(indices)], tf.int32)
    with tf.control_dependencies([size]):
        return gather(array, indices, *args, **kwargs)
x = rng.random((ROWS, 64, 64, 3), dtype="float32")
y = rng.integers(0, 10, ROWS)
BATCH = 128
model = keras.Sequential([
    keras.Input((64, 64, 3)),
    keras.layers.AveragePooling2D(LAYER),
    keras.layers.Conv2D(16, 3, activation="relu"),
    keras.layers.Flatten(),
    keras.layers.Dense(10),
])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
"""

TIMED = """
def fit(epochs):
    model.fit(made(), epochs=epochs, verbose=0, **given)
fit(1)
began, used = time.perf_counter(), time.process_time()
fit(EPOCHS)
seconds, cpu = time.perf_counter() - began, hops.all_reduce(time.process_time() - used, "max")
"""

MAPS = """
def heavy(a, b):
    for _ in range(6):
        a = tf.image.resize(tf.image.resize(a, (96, 96), "bicubic"), (64, 64), "bicubic")
    return a, b
def made():
    return tf.data.Dataset.from_tensor_slices((x, y)).map(heavy).batch(BATCH)
given = {}
"""

SEQUENCE = """
class Decoded(keras.utils.PyDataset):
    def __len__(self):
        return -(-ROWS // BATCH)
    def __getitem__(self, index):
        images = x[index * BATCH : (index + 1) * BATCH]
        for _ in range(4):
            images = np.fft.ifft2(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2)).real.astype("float32")
        return images, y[index * BATCH : (index + 1) * BATCH]
made, given = Decoded, {}
"""

GENERATOR = """
def made():
    own = np.random.default_rng(1)
    while True:
        chosen = own.permutation(ROWS)[:BATCH]
        yield x[chosen] + own.normal(0.0, 0.1, (len(chosen), 64, 64, 3)).astype("float32"), y[chosen]
given = {"steps_per_epoch": ROWS // BATCH}
"""

ARRAYS = """
def made():
    return x
given = {"y": y, "batch_size": BATCH}
"""

CHEAP = """
def made():
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(512, seed=1).batch(BATCH).prefetch(2)
given = {}
"""


@dataclass(frozen=True)
class Input:
    """One input: how its data are made, how much the model pools it first (the larger, the cheaper), and the aim."""

    name: str
    source: str
    pool: int
    aim: float


INPUTS = (
    Input("`tf.data` with heavy row-wise maps", MAPS, 8, 1.6),
    Input("`PyDataset` with slow batches", SEQUENCE, 8, 1.7),
    Input("generator with a state, drawn serially", GENERATOR, 2, 0.95),
    Input("arrays", ARRAYS, 2, 0.95),
    Input("`tf.data`, shuffled, without maps", CHEAP, 2, 0.95),
)


def run(each: Input, rows: int, epochs: int, ranks: int, *, counted: bool = False) -> dict[str, object]:
    """Fit on the cluster; return the seconds of the second fit, its CPU seconds, and what ranks gathered."""
    source = SETUP + ("tf.gather = counting_gather\n" if counted else "") + each.source + TIMED
    source += "tf.gather = gather\nrows = hops.all_reduce(sum(gathered), 'max')\n"
    for name, value in (("ROWS", rows), ("EPOCHS", epochs), ("LAYER", each.pool)):
        source = source.replace(name, str(value))
    namespace: dict[str, object] = {}
    hops.train(source, namespace=namespace, workers=ranks, threads_per_rank=1, show=False, out=("seconds", "cpu", "rows"))
    return namespace


def table(rows: int = 2048, epochs: int = 8, times: int = 2) -> Table:
    result = Table(
        "Input shared out",
        f"Fits whose cost is their input: {rows:,} images of 64 x 64, batches of 128, {epochs} epochs after a first; "
        "each rank has one core and one thread, and CPU seconds are those of the busiest. The rival is one rank. Aims: "
        + ", ".join(f"{each.name} {each.aim:g} x" for each in INPUTS)
        + "; of arrays, each of four ranks gathers a quarter of the rows.",
        ["input", "1 rank, s", "2 ranks, s", "speed-up", "1 rank, CPU s", "2 ranks, CPU s", "CPU ratio", "aim"],
    )
    for each in INPUTS:
        cpu: dict[int, float] = {}

        def measured(ranks: int, each: Input = each, cpu: dict[int, float] = cpu) -> float:
            found = run(each, rows, epochs, ranks)
            cpu[ranks] = min(cpu.get(ranks, float("inf")), float(found["cpu"]))  # type: ignore[arg-type]
            return float(found["seconds"])  # type: ignore[arg-type]

        one, two = interleaved(times, lambda measured=measured: measured(1), lambda measured=measured: measured(2))
        result.rows.append([each.name, one, two, one / two, cpu[1], cpu[2], cpu[1] / cpu[2], each.aim])
    cluster = hops.cluster.current()
    cluster.scale(max(4, len(cluster.status().workers)))
    arrays = next(each for each in INPUTS if each.source is ARRAYS)
    all_rows, quarter = (int(run(arrays, rows, epochs, ranks, counted=True)["rows"]) for ranks in (1, 4))  # type: ignore[call-overload]
    said = "; ".join(f"{row[0]}: {row[3]:.2f} x" for row in result.rows)
    result.verdict = (
        f"Two ranks against one: {said}. Of arrays, each of four ranks gathers {quarter / all_rows:.1%} of the rows "
        "that one process gathers (with a sample of all rows before each fit, which ranks compare)."
    )
    return result


if __name__ == "__main__":
    began = time.perf_counter()
    print(table().markdown())
    print(f"({time.perf_counter() - began:.0f} s)")
