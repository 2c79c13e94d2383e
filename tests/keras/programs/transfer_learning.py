# equal: a frozen base under a new head, then all of it again at a small rate
import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(3)
images, labels = rng.random((20, 8, 8, 3)), rng.integers(0, 2, 20).astype("float64")
train_ds = tf.data.Dataset.from_tensor_slices((images, labels)).batch(7).prefetch(tf.data.AUTOTUNE)
base_model = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(4, 3)]
)
base_model.trainable = False
inputs = keras.Input(shape=(8, 8, 3))
x = base_model(layers.Rescaling(scale=2.0, offset=-1)(inputs), training=False)
model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.0)(layers.GlobalAveragePooling2D()(x))))
model.compile(
    optimizer=keras.optimizers.Adam(),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
history = model.fit(train_ds, epochs=1, validation_data=train_ds, verbose=0)
base_model.trainable = True
model.compile(
    optimizer=keras.optimizers.Adam(1e-5),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy()],
)
again = model.fit(train_ds, epochs=1, validation_data=train_ds, verbose=0)
