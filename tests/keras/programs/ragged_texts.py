# equal: sentences of any length as ragged tensors, padded to the longest where they are embedded
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
lengths = rng.integers(1, 7, size=17)
words = tf.RaggedTensor.from_row_lengths(rng.integers(1, 20, size=lengths.sum()), lengths)
liked = rng.integers(0, 2, size=(17, 1)).astype("float64")


class Sentences(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(20, 4, mask_zero=True)
        self.pool, self.out = layers.GlobalAveragePooling1D(), layers.Dense(1, activation="sigmoid")

    def call(self, words):
        return self.out(self.pool(self.embedding(words.to_tensor())))


model = Sentences()
model(words[:2])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
history = model.fit(tf.data.Dataset.from_tensor_slices((words, liked)).batch(5), epochs=2, verbose=0)
