# equal: a siamese network, one tower for both images of a pair, with a contrastive loss of pairs
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
left, right, same = rng.random((23, 8, 8, 1)), rng.random((23, 8, 8, 1)), rng.integers(0, 2, 23).astype("float64")


def euclidean_distance(vects):
    x, y = vects
    return ops.sqrt(ops.maximum(ops.sum(ops.square(x - y), axis=1, keepdims=True), keras.backend.epsilon()))


tower_input = layers.Input((8, 8, 1))
x = layers.BatchNormalization()(tower_input)
x = layers.AveragePooling2D(pool_size=(2, 2))(layers.Conv2D(4, (3, 3), activation="tanh")(x))
x = layers.BatchNormalization()(layers.Flatten()(x))
tower = keras.Model(tower_input, layers.Dense(4, activation="tanh")(x))
a, b = layers.Input((8, 8, 1)), layers.Input((8, 8, 1))
merged = layers.Lambda(euclidean_distance, output_shape=(1,))([tower(a), tower(b)])
siamese = keras.Model([a, b], layers.Dense(1, activation="sigmoid")(layers.BatchNormalization()(merged)))


def loss(margin=1):
    def contrastive_loss(y_true, y_pred):
        margin_square = ops.square(ops.maximum(margin - (y_pred), 0))
        return ops.mean((1 - y_true) * ops.square(y_pred) + (y_true) * margin_square)

    return contrastive_loss


siamese.compile(loss=loss(margin=1), optimizer=keras.optimizers.RMSprop(1e-3, epsilon=1e-4), metrics=["accuracy"])
history = siamese.fit([left, right], same[:, None], batch_size=8, epochs=2, verbose=0)
