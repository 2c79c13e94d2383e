# equal: from one language to another by a transformer that masks padding, smooths labels and counts positions from the end
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

rng = np.random.default_rng(3)
source, target = rng.integers(1, 12, (13, 6)), rng.integers(1, 12, (13, 5))
for row in range(13):
    source[row, rng.integers(3, 7) :] = target[row, rng.integers(2, 6) :] = 0


class PositionalEmbedding(layers.Layer):
    def __init__(self, length, words, size, **kwargs):
        super().__init__(**kwargs)
        self.token, self.position = layers.Embedding(words, size), layers.Embedding(length, size)

    def call(self, x):
        return self.token(x) + self.position(tf.range(tf.shape(x)[-1]))

    def compute_mask(self, x, mask=None):
        return ops.not_equal(x, 0)


class TransformerDecoder(layers.Layer):
    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.own, self.cross = layers.MultiHeadAttention(2, size // 2), layers.MultiHeadAttention(2, size // 2)
        self.norm, self.dense = layers.LayerNormalization(), layers.Dense(size, activation="relu")

    def call(self, inputs, mask=None):
        x, encoded = inputs
        of_words, of_source = (None, None) if mask is None else mask
        x = self.norm(x + self.own(x, x, x, use_causal_mask=True, query_mask=of_words))
        return x + self.dense(self.cross(x, encoded, encoded, query_mask=of_words, key_mask=of_source))


class SmoothedCrossentropy(keras.losses.Loss):
    def call(self, y, p):
        return keras.losses.categorical_crossentropy(ops.one_hot(ops.cast(y, "int32"), 12) * 0.9 + 0.1 / 12, p)


encoder_inputs, decoder_inputs = keras.Input((None,), name="source"), keras.Input((None,), name="target")
embedded = PositionalEmbedding(6, 12, 4)(encoder_inputs)
encoded = layers.Dense(4, activation="tanh")(embedded)
decoded = TransformerDecoder(4)([PositionalEmbedding(6, 12, 4)(decoder_inputs), encoded])
model = keras.Model([encoder_inputs, decoder_inputs], layers.Dense(12, activation="softmax")(decoded))
model.compile("adam", SmoothedCrossentropy(), metrics=["accuracy"])
pairs = tf.data.Dataset.from_tensor_slices(({"source": source, "target": target[:, :-1]}, target[:, 1:])).batch(5)
history = model.fit(pairs, epochs=1, verbose=0)
