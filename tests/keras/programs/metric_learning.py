# told (loss, gradient): anchors are compared with the positives of all other rows
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
pairs = rng.random((2, 12, 6, 6, 1))


class EmbeddingModel(keras.Model):
    def train_step(self, data):
        import tensorflow as tf

        anchors, positives = data
        with tf.GradientTape() as tape:
            anchor_embeddings, positive_embeddings = self(anchors, training=True), self(positives, training=True)
            similarities = ops.einsum("ae,pe->ap", anchor_embeddings, positive_embeddings) / 0.2
            sparse_labels = ops.arange(ops.shape(anchor_embeddings)[0])
            loss = self.compute_loss(y=sparse_labels, y_pred=similarities)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(sparse_labels, similarities)
        return {m.name: m.result() for m in self.metrics}


inputs = layers.Input(shape=(6, 6, 1))
x = layers.GlobalAveragePooling2D()(layers.Conv2D(filters=6, kernel_size=3, strides=2, activation="relu")(inputs))
model = EmbeddingModel(inputs, layers.UnitNormalization()(layers.Dense(units=4)(x)))
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=1e-3), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
history = model.fit(pairs[0], pairs[1], batch_size=6, epochs=2, verbose=0)
