# told (contrastive, loss, gradient): each row is compared with all others of its batch
import keras
import numpy as np
from keras import layers, ops

images = np.random.default_rng(3).random((16, 6, 6, 1))


class ContrastiveModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.temperature = 0.1
        self.augmenter = keras.Sequential([layers.Rescaling(1.0)])
        self.encoder = keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(5)])
        self.projection_head = keras.Sequential([layers.Dense(4, activation="relu"), layers.Dense(4)])

    def compile(self, contrastive_optimizer, **kwargs):
        super().compile(**kwargs)
        self.contrastive_optimizer = contrastive_optimizer
        self.contrastive_loss_tracker = keras.metrics.Mean(name="c_loss")

    @property
    def metrics(self):
        return [self.contrastive_loss_tracker]

    def contrastive_loss(self, projections_1, projections_2):
        projections_1, projections_2 = ops.normalize(projections_1, axis=1), ops.normalize(projections_2, axis=1)
        similarities = ops.matmul(projections_1, ops.transpose(projections_2)) / self.temperature
        labels = ops.arange(ops.shape(projections_1)[0])
        one = keras.losses.sparse_categorical_crossentropy(labels, similarities, from_logits=True)
        two = keras.losses.sparse_categorical_crossentropy(labels, ops.transpose(similarities), from_logits=True)
        return (ops.mean(one) + ops.mean(two)) / 2

    def train_step(self, images):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            one, two = self.encoder(self.augmenter(images)), self.encoder(self.augmenter(images[:, ::-1]))
            loss = self.contrastive_loss(self.projection_head(one), self.projection_head(two))
        weights = self.encoder.trainable_weights + self.projection_head.trainable_weights
        self.contrastive_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.contrastive_loss_tracker.update_state(loss)
        return {m.name: m.result() for m in self.metrics}


model = ContrastiveModel()
model.compile(contrastive_optimizer=keras.optimizers.Adam())
history = model.fit(images, epochs=2, batch_size=8, verbose=0)
