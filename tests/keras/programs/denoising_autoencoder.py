# equal: noise is taken out of images by a convolutional autoencoder
import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(3)
clean = rng.random((22, 8, 8, 1))
noisy = np.clip(clean + 0.4 * rng.normal(size=clean.shape), 0.0, 1.0)
image = layers.Input(shape=(8, 8, 1))
x = layers.MaxPooling2D((2, 2), padding="same")(layers.Conv2D(4, (3, 3), activation="relu", padding="same")(image))
x = layers.Conv2DTranspose(4, (3, 3), strides=2, activation="relu", padding="same")(x)
autoencoder = keras.Model(image, layers.Conv2D(1, (3, 3), activation="sigmoid", padding="same")(x))
autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
history = autoencoder.fit(clean, clean, epochs=1, batch_size=8, shuffle=True, validation_data=(clean, clean), verbose=0)
autoencoder.fit(noisy, clean, epochs=1, batch_size=8, shuffle=True, verbose=0)
predicted = autoencoder.predict(noisy[:5], verbose=0)
