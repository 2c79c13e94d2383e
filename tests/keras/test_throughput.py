"""Examples per second are those of an epoch's training: by a clock of the test's own, and against a callback's own count."""

import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import plain, ranks

from hops_magic.frameworks.keras.throughput import Throughput, batches_of
from hops_magic.runs.events import Progress

ROWS, BATCH, EPOCHS = 200, 32, 3
X = np.ones((ROWS, 4), "float32")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def epoch(throughput, clock, steps, *, step_s, after_s=0.0):
    throughput.begin_epoch()
    for step in range(1, steps + 1):
        clock.now += step_s
        throughput.trained(step)
    clock.now += after_s


def test_validation_is_left_out_and_the_last_batch_counts_what_it_has():
    clock = Clock()
    throughput = Throughput(2, clock)
    throughput.begin_fit(SimpleNamespace(batch_size=BATCH, _num_samples=ROWS))
    epoch(throughput, clock, 7, step_s=1.0, after_s=100.0)
    assert throughput.examples_per_s == pytest.approx(100 / 7)
    epoch(throughput, clock, 7, step_s=0.5, after_s=100.0)
    assert throughput.examples_per_s == pytest.approx(100 / 3.5)
    assert (throughput.examples, throughput.train_s) == (200, 10.5)


def test_steps_of_an_earlier_attempt_count_neither_rows_nor_time():
    clock = Clock()
    throughput = Throughput(1, clock)
    throughput.begin_fit(SimpleNamespace(batch_size=10))
    throughput.begin_epoch()
    clock.now += 50
    throughput.skipped(5)
    for step in (6, 7):
        clock.now += 2
        throughput.trained(step)
    assert throughput.examples_per_s == 5
    assert throughput.examples == 20


def test_a_second_fit_adds_to_the_first():
    clock = Clock()
    throughput = Throughput(1, clock)
    for batch in (10, 20):
        throughput.begin_fit(SimpleNamespace(batch_size=batch))
        epoch(throughput, clock, 5, step_s=1.0, after_s=3.0)
    assert (throughput.examples_per_s, throughput.examples, throughput.train_s) == (20, 150, 10)


def sizes():
    rows = tf.data.Dataset.from_tensor_slices(X)
    datasets = {
        "mapped": rows.shuffle(9).batch(BATCH).map(lambda x: x + 1).prefetch(2),
        "endless": rows.repeat().batch(BATCH),
        "unbatched": rows.batch(BATCH).unbatch(),
        "padded": rows.padded_batch(BATCH),
    }
    return {name: batches_of(SimpleNamespace(batch_size=None, _dataset=each)) for name, each in datasets.items()}


def test_the_node_that_makes_batches_tells_their_size():
    assert plain(sizes) == {
        "mapped": (BATCH, ROWS),
        "endless": (BATCH, None),
        "unbatched": (None, None),
        "padded": (BATCH, ROWS),
    }


class Counting(keras.callbacks.Callback):
    """Slow, as a real model is, and slower in validation; counts as a user would."""

    def __init__(self):
        super().__init__()
        self.per_s = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.02)
        self.ended_at = time.monotonic()

    def on_test_batch_end(self, batch, logs=None):
        time.sleep(0.05)

    def on_epoch_end(self, epoch, logs=None):
        self.per_s.append(ROWS / (self.ended_at - self.began_at))


def drawn(sizes):
    """Batches of other sizes, as a user's generator makes them."""
    while True:
        for size in sizes:
            yield X[:size], X[:size, :1]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, at):
        return X[: 20 + 10 * at], X[: 20 + 10 * at, :1]


def generated():
    model, counting = keras.Sequential([keras.Input((4,)), layers.Dense(1)]), Counting()
    model.compile("sgd", "mse")
    per_epoch = []
    for data, steps, rows in (
        # the second epoch goes on where the first one ended
        (drawn([40, 8, 24]), 4, (112, 80)),
        (Batches(), None, (140, 140)),
        (
            tf.data.Dataset.from_generator(lambda: iter([{"x": X[:50]}, {"x": X[:9]}]), output_signature=SPEC).map(pair),
            None,
            (59, 59),
        ),
        # of the step after the last one nothing counts
        (
            tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(32).filter(lambda x, y: tf.shape(x)[0] > 8),
            None,
            (192, 192),
        ),
    ):
        before = len(counting.per_s)
        validation = (X, X[:, :1])
        model.fit(data, steps_per_epoch=steps, epochs=2, validation_data=validation, callbacks=[counting], verbose=0)
        per_epoch += [per_s * count / ROWS for per_s, count in zip(counting.per_s[before:], rows, strict=True)]
    return {"per_s": np.array(per_epoch), "rows": 112 + 80 + 2 * (140 + 59 + 192)}


SPEC = {"x": tf.TensorSpec((None, 4), tf.float32)}


def pair(row):
    return row["x"], row["x"][:, :1]


def counted():
    data = (X, X[:, :1])
    model, counting = keras.Sequential([keras.Input((4,)), layers.Dense(1)]), Counting()
    model.compile("sgd", "mse")
    model.fit(*data, batch_size=BATCH, epochs=EPOCHS, validation_data=data, callbacks=[counting], verbose=0)
    train = tf.data.Dataset.from_tensor_slices(data).batch(BATCH)
    model.fit(train, epochs=EPOCHS, validation_data=data, callbacks=[counting], verbose=0)
    return {"per_s": np.array(counting.per_s)}


def said_at_epochs(ended):
    """What each rank said at the end of each epoch."""
    return [
        [e for e in each.events if isinstance(e, Progress) and e.epoch and not e.step and e.phase == "fit"] for each in ended
    ]


@pytest.mark.parametrize("world", [1, 2])
def test_rows_of_batches_that_tell_no_size_are_counted_as_they_pass(world):
    ended = ranks(generated, world)
    said = said_at_epochs(ended)
    # a rate is told at the end of each epoch; how near it is to a callback's, the benchmark of it tells
    assert all(events[at].examples_per_s for events in said for at in range(len(ended[0].result["per_s"])))
    assert sum(events[-1].examples for events in said) == ended[0].result["rows"]


@pytest.mark.parametrize("world", [1, 2])
def test_each_epoch_is_as_fast_as_a_callback_counts(world):
    ended = ranks(counted, world)
    said = [
        [e for e in each.events if isinstance(e, Progress) and e.epoch and not e.step and e.phase == "fit"] for each in ended
    ]
    for at in range(2 * EPOCHS):
        together = sum(events[at].examples_per_s for events in said)
        assert together == pytest.approx(ended[0].result["per_s"][at], rel=0.05)
    assert [event.series for event in said[0]] == [1] * EPOCHS + [2] * EPOCHS
    assert sum(events[-1].examples for events in said) == 2 * EPOCHS * ROWS
