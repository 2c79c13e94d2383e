# equal within 1e-5: captcha reading, convolutions and recurrence under a CTC loss that a layer adds
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(3)
images, labels = rng.random((11, 12, 6, 1)), rng.integers(1, 6, size=(11, 3))


class CTCLayer(layers.Layer):
    def call(self, y_true, y_pred):
        batch_len = ops.shape(y_true)[0]
        input_length = ops.full((batch_len,), ops.shape(y_pred)[1], dtype="int32")
        label_length = ops.full((batch_len,), ops.shape(y_true)[1], dtype="int32")
        loss = ops.ctc_loss(ops.cast(y_true, "int32"), y_pred, label_length, input_length, mask_index=0)
        self.add_loss(ops.mean(loss))
        return y_pred


image = layers.Input(shape=(12, 6, 1), name="image")
label = layers.Input(name="label", shape=(None,), dtype="int32")
x = layers.MaxPooling2D((2, 2))(layers.Conv2D(4, (3, 3), activation="relu", padding="same")(image))
x = layers.Dense(5, activation="relu")(layers.Reshape(target_shape=(6, 12))(x))
x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
output = CTCLayer(name="ctc_loss")(label, layers.Dense(6)(x))
model = keras.Model(inputs=[image, label], outputs=output)
model.compile(optimizer=keras.optimizers.Adam())
history = model.fit({"image": images, "label": labels}, batch_size=4, epochs=1, verbose=0)
