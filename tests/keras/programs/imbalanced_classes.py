# equal: rare frauds, weighed by class, with all counts of a confusion matrix
import keras
import numpy as np

rng = np.random.default_rng(3)
features, targets = rng.normal(size=(44, 7)), (rng.random((44, 1)) < 0.15).astype("uint8")
targets[:2] = 1
first = [keras.Input(shape=features.shape[1:]), keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.0)]
model = keras.Sequential([*first, keras.layers.Dense(1, activation="sigmoid")])
metrics = [
    keras.metrics.FalseNegatives(name="fn"),
    keras.metrics.TruePositives(name="tp"),
    keras.metrics.Precision(name="precision"),
    keras.metrics.Recall(name="recall"),
    keras.metrics.AUC(name="prc", curve="PR"),
]
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=metrics)
frauds = int(targets.sum())
class_weight = {0: 1.0 / (44 - frauds), 1: 1.0 / frauds}
history = model.fit(features, targets, batch_size=16, epochs=2, verbose=0, class_weight=class_weight, validation_split=0.2)
