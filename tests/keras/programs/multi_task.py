# equal: titles, texts and tags of tickets; two outputs, each with its loss and its weight
import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(3)
title, body, tags = rng.integers(0, 20, (19, 5)), rng.integers(0, 20, (19, 7)), rng.integers(0, 2, (19, 4)).astype("float64")
priority, department = rng.random((19, 1)), np.eye(3)[rng.integers(0, 3, 19)]
title_input, body_input = keras.Input(shape=(None,), name="title"), keras.Input(shape=(None,), name="body")
tags_input = keras.Input(shape=(4,), name="tags")
embedded = layers.Embedding(20, 6)
x = layers.concatenate([layers.LSTM(4)(embedded(title_input)), layers.LSTM(3)(embedded(body_input)), tags_input])
model = keras.Model(
    inputs=[title_input, body_input, tags_input],
    outputs={"priority": layers.Dense(1, name="priority")(x), "department": layers.Dense(3, name="department")(x)},
)
model.compile(
    optimizer=keras.optimizers.RMSprop(1e-3, epsilon=1e-4),
    loss={
        "priority": keras.losses.BinaryCrossentropy(from_logits=True),
        "department": keras.losses.CategoricalCrossentropy(from_logits=True),
    },
    loss_weights={"priority": 1.0, "department": 0.2},
    metrics={"department": ["accuracy"]},
)
history = model.fit(
    {"title": title, "body": body, "tags": tags},
    {"priority": priority, "department": department},
    epochs=1,
    batch_size=8,
    verbose=0,
)
