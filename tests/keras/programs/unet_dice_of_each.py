# equal: segmentation by a small U-Net, with crossentropy and the Dice of each image
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
images, masks = rng.random((13, 8, 8, 1)), (rng.random((13, 8, 8, 1)) > 0.6).astype("float64")


def get_model():
    inputs = keras.Input((8, 8, 1))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(inputs)))
    previous = x
    x = layers.BatchNormalization()(layers.SeparableConv2D(6, 3, padding="same")(layers.Activation("relu")(x)))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.add([x, layers.Conv2D(6, 1, strides=2, padding="same")(previous)])
    for filters in (6, 4):
        x = layers.BatchNormalization()(layers.Conv2DTranspose(filters, 3, padding="same")(layers.Activation("relu")(x)))
        x = layers.UpSampling2D(2)(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x))


def loss(y_true, y_pred):
    overlap = ops.sum(y_true * y_pred, axis=(1, 2, 3))
    dice = (2.0 * overlap + 1.0) / (ops.sum(y_true, axis=(1, 2, 3)) + ops.sum(y_pred, axis=(1, 2, 3)) + 1.0)
    return ops.mean(keras.losses.binary_crossentropy(y_true, y_pred), axis=(1, 2)) + 1.0 - dice


model = get_model()
model.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=[keras.metrics.BinaryIoU(name="iou")])
history = model.fit(images, masks, epochs=1, batch_size=6, verbose=0)
