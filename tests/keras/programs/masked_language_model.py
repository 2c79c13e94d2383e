# equal: words hidden from a transformer; its step takes the gradient of the losses of all words, unreduced
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
words = rng.integers(2, 15, (14, 6))
weights = (rng.random((14, 6)) < 0.3).astype("float64")
weights[:, 0] = 1.0
masked = np.where(weights > 0, 1, words)
loss_fn = keras.losses.SparseCategoricalCrossentropy(reduction=None)


class MaskedLanguageModel(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")

    def train_step(self, inputs):
        features, labels, sample_weight = inputs
        with tf.GradientTape() as tape:
            predictions = self(features, training=True)
            loss = loss_fn(labels, predictions, sample_weight=sample_weight)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.loss_tracker.update_state(loss, sample_weight=sample_weight)
        return {"loss": self.loss_tracker.result()}

    @property
    def metrics(self):
        return [self.loss_tracker]


inputs = layers.Input((6,), dtype="int32")
x = layers.Embedding(15, 4)(inputs)
x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 2)(x, x))
model = MaskedLanguageModel(inputs, layers.Dense(15, activation="softmax")(x))
model.compile(optimizer=keras.optimizers.SGD(0.01))
history = model.fit(masked, words, sample_weight=weights, batch_size=6, epochs=1, verbose=0)
