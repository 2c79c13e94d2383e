# told (loss, gradient): rows of a batch are each other's negatives in a retrieval model
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
users, films = rng.integers(0, 9, 16), rng.integers(0, 12, 16)


class Retrieval(keras.Model):
    def __init__(self):
        super().__init__()
        self.user_model, self.movie_model = layers.Embedding(9, 4), layers.Embedding(12, 4)
        self.loss_fn = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")

    def call(self, inputs):
        return self.user_model(inputs["user_id"]), self.movie_model(inputs["movie_id"])

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        query, candidate = y_pred
        scores = query @ ops.transpose(candidate)
        return self.loss_fn(ops.eye(ops.shape(scores)[0]), scores)


model = Retrieval()
model.compile(optimizer=keras.optimizers.Adagrad(learning_rate=0.1))
history = model.fit({"user_id": users, "movie_id": films}, batch_size=8, epochs=2, verbose=0)
