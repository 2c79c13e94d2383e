"""``fit`` of what ``hops.shard`` gives: each rank feeds its own rows, and a global batch holds those of all ranks."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

import hops_magic as hops
from hops_magic.runs.events import InputShared, Warned

ROWS, BATCH = 151, 16
rng = np.random.default_rng(5)
X = rng.normal(size=(ROWS, 12))
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")
W = rng.random(ROWS) + 0.1
HALVES = np.arange(75), np.arange(75, ROWS)


def trained(*args, epochs=2, **kwargs):
    keras.utils.set_random_seed(3)
    keras.config.set_floatx("float64")
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="tanh"), layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(*args, verbose=0, epochs=epochs, **kwargs)
    return {**weights(model), **{f"h.{name}": np.array(values) for name, values in history.history.items()}}


def together(**results):
    return {f"{name}.{key}": value for name, found in results.items() for key, value in found.items()}


def ways(ended):
    return {(event.phase, event.way) for event in ended.events if isinstance(event, InputShared)}


def rows():
    return tf.data.Dataset.from_tensor_slices((X, Y))


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return math.ceil(len(self.arrays[0]) / BATCH)

    def __getitem__(self, index):
        return tuple(array[index * BATCH : (index + 1) * BATCH] for array in self.arrays)


def test_each_nth_batch_trains_as_one_process_with_larger_batches():
    world = 3

    # of ten batches, the last round has one for some ranks only
    def one():
        large = rows().batch(BATCH * world)
        return together(dataset=trained(large, validation_data=large), sequence=trained(large), map=trained(large.take(2)))

    def body():
        small = rows().batch(BATCH)
        random = hops.shard(small).map(lambda x, y: (x + 0.0 * tf.random.normal([12], dtype=tf.float64), y))
        return together(
            dataset=trained(hops.shard(small), validation_data=hops.shard(small)),
            sequence=trained(hops.shard(Batches(X, Y)), shuffle=False),
            map=trained(random.prefetch(1).take(2)),
        )

    expected = plain(one)
    ended = ranks(body, world)
    for each in ended:
        assert distance(expected, each.result) < 1e-12
    assert ways(ended[0]) == {("fit", "shard")}


def joined(parts, times=1):
    """What ranks with these rows feed together, step by step."""
    for _ in range(times):
        for start in range(0, max(len(part) for part in parts), BATCH):
            chosen = np.concatenate([part[start : start + BATCH] for part in parts])
            yield X[chosen], Y[chosen], W[chosen]


def as_dataset(parts):
    spec = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in (X, Y, W))
    data = tf.data.Dataset.from_generator(lambda: joined(parts), output_signature=spec)
    return data.apply(tf.data.experimental.assert_cardinality(len(list(joined(parts)))))


def test_rows_of_parts_count_as_rows_of_one_batch():
    """Arrays, what is computed of them, sequences, datasets, generators; one rank has fewer rows, or none."""

    def one():
        halves, few, none = HALVES, (HALVES[0][:20], HALVES[1]), (HALVES[0][:0], HALVES[1])
        data = as_dataset(halves)
        cut = [part[:60] for part in halves], [part[60:] for part in halves]
        return together(
            arrays=trained(as_dataset(cut[0]), validation_data=as_dataset(cut[1])),
            computed=trained(data),
            sequence=trained(data),
            views=trained(as_dataset([part[:50] for part in halves])),
            few=trained(as_dataset(few)),
            none=trained(as_dataset(none)),
            generator=trained(joined(halves, times=2), steps_per_epoch=4),
        )

    def body():
        x, y, w = hops.shard(X), hops.shard(Y), hops.shard(W)
        part = tf.data.Dataset.from_tensor_slices((x, y, w))

        def batches():
            for _ in range(2):
                for start in range(0, len(x), BATCH):
                    yield x[start : start + BATCH], y[start : start + BATCH], w[start : start + BATCH]

        return together(
            arrays=trained(x, y, sample_weight=w, batch_size=BATCH, shuffle=False, validation_split=0.2),
            computed=trained(tf.data.Dataset.from_tensor_slices(((x + 1.0) - 1.0, y, w)).batch(BATCH)),
            sequence=trained(Batches(x, y, w), shuffle=False),
            views=trained(x[:50], y[:50], sample_weight=w[:50], batch_size=BATCH, shuffle=False),
            few=trained(part.take(20 if hops.rank == 0 else 100).batch(BATCH)),
            none=trained(part.take(0 if hops.rank == 0 else 100).batch(BATCH)),
            generator=trained(batches(), steps_per_epoch=4),
        )

    expected = plain(one)
    for each in ranks(body):
        assert ways(each) <= {("fit", "shard")}
        off = {key: distance({key: expected[key]}, {key: each.result[key]}) for key in expected}
        assert not {key: value for key, value in off.items() if not value < 1e-12}


def test_a_fit_of_parts_in_its_other_forms():
    """Several steps in one execution, batches told per rank, evaluations, a stream without an end."""

    def scored(data, **kwargs):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((12,)), layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), steps_per_execution=3)
        history = model.fit(data, verbose=0, **kwargs)
        scores = model.evaluate(data, steps=10, verbose=0, return_dict=True)
        return weights(model) | {"loss": np.array(history.history["loss"]), "score": np.array(scores["loss"])}

    def one():
        return together(endless=scored(rows().batch(2 * BATCH).repeat(), steps_per_epoch=3, epochs=3))

    def body():
        mine = hops.shard(rows().batch(BATCH))
        found = together(endless=scored(mine.repeat(), steps_per_epoch=3, epochs=3))
        evaluated = keras.Sequential([keras.Input((12,)), layers.Dense(1, kernel_initializer="ones")])
        evaluated.compile("sgd", "mse")
        found["evaluated"] = evaluated.evaluate(hops.shard(X), hops.shard(Y), verbose=0)
        found["whole"] = evaluated.evaluate(X, Y, verbose=0)
        return found

    expected = plain(one)
    for each in ranks(body, batch="per-rank"):
        assert each.result.pop("evaluated") == pytest.approx(each.result.pop("whole"), rel=1e-6)
        assert distance(expected, each.result) < 1e-6
        assert ("evaluate", "shard") in ways(each) or ways(each) == set()


def test_parts_that_some_ranks_alone_feed_are_refused():
    def some():
        trained(hops.shard(X) if hops.rank else X, hops.shard(Y) if hops.rank else Y)

    assert all(
        "rank 1 feeds a part that hops.shard gave, and rank 0 does not" in e.error for e in ranks(some, may_fail=True)
    )


def test_an_input_that_holds_no_part_is_dealt_and_a_split_told():
    def body():
        part = hops.shard(X)
        own = np.random.default_rng()

        def batches():
            while True:
                chosen = own.permutation(ROWS)[:BATCH]
                yield X[chosen], Y[chosen]

        return trained(batches(), steps_per_epoch=2) | {"part": np.array(float(len(part) > 0))}

    first, second = ranks(body)
    assert ways(first) == {("fit", "deal")}
    assert distance(first.result, second.result) == 0.0
    assert any("hops.shard was used" in event.message for event in first.events if isinstance(event, Warned))


def test_an_error_in_one_rank_s_data_is_told_on_every_rank():
    def body():
        part = hops.shard(X)

        def batches():
            yield part[:8], Y[:8]
            yield part[:8], Y[:8]
            if hops.rank:
                raise ValueError("no more of it")
            yield part[:8], Y[:8]

        trained(batches())

    for ended in ranks(body, may_fail=True):
        assert "no more of it" in ended.error
