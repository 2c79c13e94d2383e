"""Ragged, sparse and weighted rows, streamed features and several steps in one execution take each way as in one process."""

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

import hops_magic as hops
from hops_magic.features.streaming import StreamedRows
from hops_magic.runs.events import InputShared

ROWS, BATCH = 53, 12
rng = np.random.default_rng(7)
LENGTHS = rng.integers(1, 6, ROWS)
WORDS = rng.normal(size=int(LENGTHS.sum()))
THIN = rng.normal(size=(ROWS, 9)) * (rng.random((ROWS, 9)) < 0.3)
TARGET, WEIGHT = rng.normal(size=(ROWS, 1)), rng.random(ROWS) + 0.1


class Mixed(keras.Model):
    """Sums the words of a row, and maps the thin numbers beside them."""

    def __init__(self):
        super().__init__()
        self.of_words, self.of_thin = layers.Dense(3), layers.Dense(3)
        self.out = layers.Dense(1)

    def call(self, inputs):
        words = inputs["words"]
        words = words.to_tensor() if isinstance(words, tf.RaggedTensor) else words
        words = tf.reduce_sum(words, axis=1, keepdims=True)
        thin = inputs["thin"]
        thin = tf.sparse.to_dense(thin) if isinstance(thin, tf.SparseTensor) else thin
        return self.out(tf.nn.tanh(self.of_words(words) + self.of_thin(tf.ensure_shape(thin, (None, 9)))))


def trained(data, **kwargs):
    keras.utils.set_random_seed(3)
    keras.config.set_floatx("float64")
    model = Mixed()
    model.compile("sgd", "mse", steps_per_execution=2)
    history = model.fit(data, verbose=0, epochs=2, **kwargs)
    found = {f"w{number}": value for number, value in enumerate(model.get_weights())}
    return found | {"loss": np.array(history.history["loss"])}


def rows():
    words = tf.RaggedTensor.from_row_lengths(WORDS, LENGTHS)
    return tf.data.Dataset.from_tensor_slices(({"words": words, "thin": tf.sparse.from_dense(THIN)}, TARGET, WEIGHT))


def heavy(inputs, target, weight):
    """Pad the words, which a map cannot hand on as rows of other lengths, and take some time."""
    zero = tf.zeros([], tf.float64)
    for _ in tf.range(60):
        zero += tf.reduce_sum(tf.linalg.inv(tf.eye(12, dtype=tf.float64))) * 0.0
    words = inputs["words"]
    padded = tf.ensure_shape(tf.pad(words, [[0, 6 - tf.shape(words)[0]]]), [6])
    return {"words": padded, "thin": inputs["thin"]}, target + zero, weight


def in_time(inputs, target, weight):
    return inputs, target + 0.0 * tf.random.normal([1], dtype=tf.float64), weight


WAYS = {
    "whole": lambda: rows().batch(BATCH),
    "push": lambda: rows().shuffle(16, seed=1).map(heavy).batch(BATCH),
    "deal": lambda: rows().batch(BATCH).map(in_time, num_parallel_calls=2),
    "shard": lambda: hops.shard(rows().batch(BATCH)),
}


def test_ragged_sparse_and_weighted_rows_take_each_way():
    def fits(of_each):
        found = {}
        for way, data in of_each.items():
            found |= {f"{way}.{name}": value for name, value in trained(data()).items()}
        return found

    expected = plain(lambda: fits({**WAYS, "shard": lambda: rows().batch(2 * BATCH)}))
    for each in ranks(lambda: fits(WAYS)):
        assert {event.way for event in each.events if isinstance(event, InputShared)} in ({*WAYS}, set())
        off = {name: distance({name: expected[name]}, {name: each.result[name]}) for name in expected}
        assert not {name: value for name, value in off.items() if not value < 1e-12}


def test_streamed_rows_are_dealt_whole_or_fed_by_each_rank(tmp_path):
    table = pa.table({"a": rng.normal(size=200), "b": rng.normal(size=200), "y": rng.normal(size=200)})
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=50)
    streamed = StreamedRows.of([str(tmp_path / "part.parquet")])

    def fit(batches):
        keras.utils.set_random_seed(3)
        keras.config.set_floatx("float64")
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(batches, epochs=2, verbose=0)
        return weights(model)

    def both(batches):
        x, y = (tf.concat(each, 0) for each in zip(*((x, y) for x, y in batches), strict=True))
        halves = [(x[:100], y[:100]), (x[100:], y[100:])]
        steps = [
            tuple(tf.concat([x[start : start + 16] for x in of], 0) for of in zip(*halves, strict=True))
            for start in range(0, 100, 16)
        ]
        spec = tuple(tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in steps[0])
        joined = tf.data.Dataset.from_generator(lambda: iter(steps), output_signature=spec)
        return joined.apply(tf.data.experimental.assert_cardinality(len(steps)))

    def of(data, size=32, **kwargs):
        return data.dataset(size, label="y", dtype="float64", **kwargs)

    expected = plain(
        lambda: fit(of(streamed, shuffle=True, seed=2)) | {f"own.{k}": v for k, v in fit(both(of(streamed))).items()}
    )
    ended = ranks(
        lambda: (
            fit(of(streamed, shuffle=True, seed=2)) | {f"own.{k}": v for k, v in fit(of(hops.shard(streamed), 16)).items()}
        )
    )
    for each in ended:
        assert distance(expected, each.result) < 1e-12
    assert [event.way for event in ended[0].events if isinstance(event, InputShared)] == ["deal", "shard"]
