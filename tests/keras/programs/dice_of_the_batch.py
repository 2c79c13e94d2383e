# equal: a Dice loss summed over the whole batch, as many segmentation notebooks have it
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
images, masks = rng.random((12, 6, 6, 1)), (rng.random((12, 6, 6, 1)) > 0.6).astype("float64")


def dice_coef(y_true, y_pred, smooth=1.0):
    y_true, y_pred = ops.reshape(y_true, [-1]), ops.reshape(y_pred, [-1])
    return (2.0 * ops.sum(y_true * y_pred) + smooth) / (ops.sum(y_true) + ops.sum(y_pred) + smooth)


def dice_coef_loss(y_true, y_pred):
    return 1.0 - dice_coef(y_true, y_pred)


model = keras.Sequential(
    [keras.Input((6, 6, 1)), layers.Conv2D(4, 3, padding="same"), layers.Conv2D(1, 1, activation="sigmoid")]
)
model.compile(keras.optimizers.Adam(1e-2), loss=dice_coef_loss, metrics=[dice_coef])
history = model.fit(images, masks, epochs=2, batch_size=6, verbose=0)
