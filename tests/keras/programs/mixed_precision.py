# equal within 2e-2: a convolutional network in half precision
import keras
import numpy as np
from keras import layers

keras.mixed_precision.set_global_policy("mixed_bfloat16")
rng = np.random.default_rng(3)
images, labels = rng.random((30, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 30)
model = keras.Sequential(
    [keras.Input((8, 8, 1)), layers.Conv2D(6, 3, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
)
model.add(layers.GlobalAveragePooling2D())
model.add(layers.Dense(3, activation="softmax", dtype="float32"))
model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
history = model.fit(images, labels, batch_size=10, epochs=1, verbose=0)
