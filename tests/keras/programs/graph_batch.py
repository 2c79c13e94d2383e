# refused (different): molecules merged into one graph, so that atoms, bonds and labels have lengths of their own
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)


def batches():
    for _ in range(2):
        sizes = rng.integers(2, 5, size=6)
        graph = np.repeat(np.arange(6), sizes)
        atoms, bonds = rng.normal(size=(sizes.sum(), 3)), rng.integers(0, sizes.sum(), size=(2 * sizes.sum(), 2))
        yield (atoms, bonds, graph), rng.integers(0, 2, size=(6, 1)).astype("float64")


class MessagePassing(layers.Layer):
    def build(self, shape):
        self.dense = layers.Dense(4, activation="tanh")

    def call(self, inputs):
        atoms, bonds = inputs
        messages = tf.gather(self.dense(atoms), bonds[:, 1])
        return tf.math.unsorted_segment_sum(messages, bonds[:, 0], tf.shape(atoms)[0])


class Molecules(keras.Model):
    def __init__(self):
        super().__init__()
        self.passing, self.out = MessagePassing(), layers.Dense(1, activation="sigmoid")

    def call(self, inputs):
        atoms, bonds, graph = inputs
        return self.out(tf.math.segment_sum(self.passing([atoms, bonds]), graph))


spec = tf.TensorSpec
signature = ((spec((None, 3), "float64"), spec((None, 2), "int64"), spec((None,), "int64")), spec((None, 1), "float64"))
model = Molecules()
model.compile("adam", "binary_crossentropy", metrics=["AUC"])
history = model.fit(tf.data.Dataset.from_generator(batches, output_signature=signature), epochs=1, verbose=0)
