# equal: a step within the step: the gradient goes through the weights that one inner update would give
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
support, query = rng.normal(size=(20, 4)), rng.normal(size=(20, 4))
truth = rng.normal(size=(4, 1))


class Learner(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = layers.Dense(5, activation="tanh"), layers.Dense(1)
        self.loss_tracker = keras.metrics.Mean(name="loss")

    def call(self, x):
        return self.out(self.hidden(x))

    def with_weights(self, x, weights):
        first, first_bias, second, second_bias = weights
        return tf.tanh(x @ first + first_bias) @ second + second_bias

    def train_step(self, data):
        (support, support_y), (query, query_y) = data
        weights = self.trainable_variables
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner_loss = tf.reduce_mean(tf.square(support_y - self.with_weights(support, weights)))
            moved = [w - 0.05 * g for w, g in zip(weights, inner.gradient(inner_loss, weights), strict=True)]
            loss = tf.reduce_mean(tf.square(query_y - self.with_weights(query, moved)))
        self.optimizer.apply(outer.gradient(loss, weights), weights)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    @property
    def metrics(self):
        return [self.loss_tracker]


model = Learner()
model(support)
model.compile(keras.optimizers.SGD(0.1))
tasks = tf.data.Dataset.from_tensor_slices(((support, support @ truth), (query, query @ truth + 0.1))).batch(7)
history = model.fit(tasks, epochs=2, verbose=0)
