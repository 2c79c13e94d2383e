"""What the first-step check costs: its time and memory on two ranks, against two plain steps with their tracing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import hops_magic as hops
from benchmarks.table import Table

SETUP = """
import time
import numpy as np
import keras
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.random((SIZE), dtype="float32")
y = rng.integers(0, 10, len(x))
MODEL
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
size = sum(int(np.prod(each.shape)) * 4 for each in model.weights)
"""

STATUS = """
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
"""

CHECKED = """
import hops_magic as hops
from hops_magic.frameworks.keras.first_step import FirstStepCheck
STATUS

def measured(self, *args):
    highest.append(status("VmHWM"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here
    before, began, used = status("VmRSS"), time.perf_counter(), time.process_time()
    check(self, *args)
    costs.append((time.perf_counter() - began, time.process_time() - used, status("VmHWM") - before))

costs, highest, check = [], [], FirstStepCheck.check
FirstStepCheck.check = measured
begun = status("VmRSS")
try:
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
finally:
    FirstStepCheck.check = check
highest.append(status("VmHWM"))
costs.append((0.0, 0.0, 0.0))
seconds, cpu, memory = (hops.all_reduce(value, "max") for value in costs[0])
whole = hops.all_reduce(float(max(highest) - begun), "max")
"""

PLAIN = """
import os, time
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(2)
SETUP
STATUS
before, began, used = status("VmRSS"), time.perf_counter(), time.process_time()
model.fit(x, y, batch_size=BATCH, steps_per_epoch=2, epochs=1, verbose=0)
print("measured", time.perf_counter() - began, time.process_time() - used, (status("VmHWM") - before) / size)
"""


@dataclass(frozen=True)
class Checked:
    """A model, the shape of its data, and what it trains on in a step."""

    name: str
    model: str
    size: str
    batch: int


MODELS = (
    Checked(
        "digits CNN",
        """model = keras.Sequential([
    keras.Input((28, 28, 1)),
    keras.layers.Conv2D(32, 3, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Conv2D(64, 3, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(10),
])""",
        "1024, 28, 28, 1",
        128,
    ),
    Checked(
        "MobileNetV2, 64 x 64",
        "model = keras.applications.MobileNetV2((64, 64, 3), weights=None, classes=10, classifier_activation=None)",
        "128, 64, 64, 3",
        32,
    ),
)


def source_of(each: Checked, template: str) -> str:
    """Return a program for a model."""
    source = template.replace("SETUP", SETUP).replace("STATUS", STATUS)
    return source.replace("SIZE", each.size).replace("MODEL", each.model).replace("BATCH", str(each.batch))


def checked(each: Checked, check: str = "always") -> dict[str, float]:
    """Fit on two ranks; return what the check took: seconds and CPU seconds of the slower rank, bytes of the larger.

    ``whole`` is what the whole fit took at its highest, in bytes.
    """
    namespace: dict[str, float] = {}
    hops.train(
        source_of(each, "SETUP" + CHECKED),
        namespace=namespace,
        workers=2,
        threads_per_rank=1,
        check=check,
        show=False,
        out=("seconds", "cpu", "memory", "whole", "size"),
    )
    return namespace


def plain(each: Checked) -> list[float]:
    """Trace and run two steps in a plain process; return seconds, CPU seconds, and how many models of memory they take."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
    code = source_of(each, PLAIN)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split("measured")[-1].split()]


def table(models: tuple[Checked, ...] = MODELS) -> Table:
    result = Table(
        "First-step check",
        "Two ranks of one thread, `--check always`, float32. The rival is a plain process that traces and runs two steps. "
        "Memory is the highest during the check (or the two steps) above what there was before, in multiples of the "
        "model's weights: nearly all of it is graphs that TensorFlow traces. The last column is what the check costs a "
        "rank in the end: the highest of the whole fit, above that of the same fit with `--check never`. "
        "Aims: digits CNN at most 0.5 s; MobileNetV2 at most the rival's time; memory at most one model.",
        [
            "model",
            "check, s",
            "2 plain steps, s",
            "ratio",
            "check, CPU s",
            "2 plain steps, CPU s",
            "check, models of memory",
            "2 plain steps, models of memory",
            "whole fit, models of memory more than without",
        ],
    )
    for each in models:
        found, (seconds, cpu, models) = checked(each), plain(each)
        memory = found["memory"] / found["size"]
        more = (found["whole"] - checked(each, "never")["whole"]) / found["size"]
        result.rows.append(
            [each.name, found["seconds"], seconds, found["seconds"] / seconds, found["cpu"], cpu, memory, models, more]
        )
    result.verdict = (
        "; ".join(
            f"{row[0]}: {row[1]:.2f} s, {row[3]:.2f} x two plain steps, {row[6] / row[7]:.2f} x their memory"  # type: ignore[operator]
            for row in result.rows
        )
        + "."
    )
    return result


if __name__ == "__main__":
    began = time.perf_counter()
    print(table().markdown())
    print(f"({time.perf_counter() - began:.0f} s)")
