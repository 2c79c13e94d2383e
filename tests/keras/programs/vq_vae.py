# equal: codes are taken from a table, gradients go straight through, the layer adds its own losses
import keras
import numpy as np
from keras import layers, ops

images = np.random.default_rng(3).random((15, 8, 8, 1))


class VectorQuantizer(layers.Layer):
    def __init__(self, num_embeddings, embedding_dim, beta=0.25, **kwargs):
        super().__init__(**kwargs)
        self.num_embeddings, self.embedding_dim, self.beta = num_embeddings, embedding_dim, beta

    def build(self, shape):
        self.table = self.add_weight(shape=(self.embedding_dim, self.num_embeddings), initializer="uniform", name="codes")

    def call(self, x):
        flattened = ops.reshape(x, [-1, self.embedding_dim])
        distances = (
            ops.sum(flattened**2, axis=1, keepdims=True) + ops.sum(self.table**2, axis=0) - 2 * flattened @ self.table
        )
        encodings = ops.one_hot(ops.argmin(distances, axis=1), self.num_embeddings, dtype=x.dtype)
        quantized = ops.reshape(encodings @ ops.transpose(self.table), ops.shape(x))
        commitment_loss = ops.mean((ops.stop_gradient(quantized) - x) ** 2)
        codebook_loss = ops.mean((quantized - ops.stop_gradient(x)) ** 2)
        self.add_loss(self.beta * commitment_loss + codebook_loss)
        return x + ops.stop_gradient(quantized - x)


image = keras.Input((8, 8, 1))
x = layers.Conv2D(3, 1)(layers.Conv2D(4, 3, activation="relu", strides=2, padding="same")(image))
x = VectorQuantizer(5, 3, name="vector_quantizer")(x)
made = layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x)
model = keras.Model(image, made)
model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-4), loss="mse")
history = model.fit(images, images, batch_size=6, epochs=1, verbose=0)
