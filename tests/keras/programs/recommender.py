# equal: films and users as embeddings and biases, their product through a sigmoid
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
pairs = np.stack([rng.integers(0, 12, 37), rng.integers(0, 9, 37)], axis=1)
rating = rng.random(37)


class RecommenderNet(keras.Model):
    def __init__(self, num_users, num_movies, embedding_size, **kwargs):
        super().__init__(**kwargs)
        many = {"embeddings_initializer": "he_normal", "embeddings_regularizer": keras.regularizers.l2(1e-6)}
        self.user_embedding = layers.Embedding(num_users, embedding_size, **many)
        self.user_bias = layers.Embedding(num_users, 1)
        self.movie_embedding = layers.Embedding(num_movies, embedding_size, **many)
        self.movie_bias = layers.Embedding(num_movies, 1)

    def call(self, inputs):
        user, movie = inputs[:, 0], inputs[:, 1]
        product = ops.sum(self.user_embedding(user) * self.movie_embedding(movie), axis=1, keepdims=True)
        return ops.nn.sigmoid(product + self.user_bias(user) + self.movie_bias(movie))


model = RecommenderNet(12, 9, 4)
model.compile(loss=keras.losses.BinaryCrossentropy(), optimizer=keras.optimizers.Adam(learning_rate=0.001))
history = model.fit(x=pairs, y=rating, batch_size=8, epochs=2, verbose=0, validation_data=(pairs[:9], rating[:9]))
