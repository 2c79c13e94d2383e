# told (loss, acc, gradient): words of captions are averaged over all that the batch has, by masks in the step
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
images, captions = rng.random((14, 6, 6, 1)), rng.integers(1, 9, (14, 6))
captions[:, 3:][rng.random((14, 3)) < 0.5] = 0


class ImageCaptioningModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
        self.embedding, self.decoder = layers.Embedding(9, 4), layers.GRU(4, return_sequences=True)
        self.out = layers.Dense(9, activation="softmax")
        self.loss_tracker, self.acc_tracker = keras.metrics.Mean(name="loss"), keras.metrics.Mean(name="accuracy")

    def call(self, inputs, training=False):
        images, words = inputs
        return self.out(self.decoder(self.embedding(words), initial_state=self.encoder(images)))

    def calculate_loss(self, y_true, y_pred, mask):
        loss = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
        mask = tf.cast(mask, loss.dtype)
        return tf.reduce_sum(loss * mask) / tf.reduce_sum(mask)

    def calculate_accuracy(self, y_true, y_pred, mask):
        right = tf.logical_and(mask, tf.equal(tf.cast(y_true, "int64"), tf.argmax(y_pred, axis=2)))
        return tf.reduce_sum(tf.cast(right, y_pred.dtype)) / tf.reduce_sum(tf.cast(mask, y_pred.dtype))

    def train_step(self, batch):
        images, words = batch
        with tf.GradientTape() as tape:
            y_pred = self((images, words[:, :-1]), training=True)
            mask = tf.not_equal(words[:, 1:], 0)
            loss = self.calculate_loss(words[:, 1:], y_pred, mask)
        grads = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables, strict=True))
        self.loss_tracker.update_state(loss)
        self.acc_tracker.update_state(self.calculate_accuracy(words[:, 1:], y_pred, mask))
        return {"loss": self.loss_tracker.result(), "acc": self.acc_tracker.result()}

    @property
    def metrics(self):
        return [self.loss_tracker, self.acc_tracker]


model = ImageCaptioningModel()
model((images[:2], captions[:2, :-1]))
model.compile(optimizer=keras.optimizers.Adam())
history = model.fit(images, captions, batch_size=7, epochs=1, verbose=0)
