# equal: a callback raises the rate after each batch, keeps the losses and stops where they explode
import keras
import numpy as np

rng = np.random.default_rng(3)
x, y = rng.normal(size=(46, 5)), rng.normal(size=(46, 1))


class LRFinder(keras.callbacks.Callback):
    def __init__(self, start=1e-3, factor=2.0):
        super().__init__()
        self.rate, self.factor, self.rates, self.losses, self.best = start, factor, [], [], np.inf

    def on_train_begin(self, logs=None):
        self.weights = self.model.get_weights()
        self.model.optimizer.learning_rate.assign(self.rate)

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(self.rate)
        self.losses.append(logs["loss"])
        self.best = min(self.best, logs["loss"])
        if logs["loss"] > 4 * self.best:
            self.model.stop_training = True
        self.rate *= self.factor
        self.model.optimizer.learning_rate.assign(self.rate)

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(1)])
model.compile("sgd", "mse")
finder = LRFinder()
model.fit(x, y, batch_size=7, epochs=1, callbacks=[finder], verbose=0)
result = {"rates": finder.rates, "losses": finder.losses}
