# equal: weather forecasting, windows of a series made by Keras' own utility, a recurrent network, early stopping
import keras
import numpy as np

rng = np.random.default_rng(3)
series = np.cumsum(rng.normal(size=(60, 3)), axis=0)
options = {"sequence_length": 8, "sampling_rate": 2, "batch_size": 9}
dataset_train = keras.utils.timeseries_dataset_from_array(series[:40], series[16:56, :1], **options)
dataset_val = keras.utils.timeseries_dataset_from_array(series[20:44], series[36:60, :1], **options)
inputs = keras.layers.Input(shape=(8, 3))
outputs = keras.layers.Dense(1)(keras.layers.LSTM(4)(inputs))
model = keras.Model(inputs=inputs, outputs=outputs)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse")
stopping = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0, patience=5)
history = model.fit(dataset_train, epochs=2, validation_data=dataset_val, callbacks=[stopping], verbose=0)
