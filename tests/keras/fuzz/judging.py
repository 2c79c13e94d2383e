"""What a model is trained towards: targets with their last layer, losses and metrics."""

from fuzz.parts import Part

TARGETS = {
    "value": Part("value", "outputs = layers.Dense(1)(h)", "Y = rng.normal(size=(ROWS, 1))"),
    "values": Part("values", "outputs = layers.Dense(3)(h)", "Y = rng.normal(size=(ROWS, 3))"),
    "count": Part(
        "count", 'outputs = layers.Dense(1, activation="softplus")(h)', "Y = rng.integers(1, 5, size=(ROWS, 1)) * 1.0"
    ),
    "binary": Part(
        "binary", 'outputs = layers.Dense(1, activation="sigmoid")(h)', "Y = (rng.random((ROWS, 1)) < 0.5) * 1.0"
    ),
    "klass": Part("klass", 'outputs = layers.Dense(3, activation="softmax")(h)', "Y = rng.integers(0, 3, size=ROWS)"),
    "onehot": Part(
        "onehot", 'outputs = layers.Dense(3, activation="softmax")(h)', "Y = np.eye(3)[rng.integers(0, 3, size=ROWS)]"
    ),
    "each": Part(
        "each", 'outputs = layers.Dense(3, activation="softmax")(h)', "Y = rng.integers(0, 3, size=(ROWS, h.shape[1]))"
    ),
    "both": Part(
        "both",
        'outputs = {"first": layers.Dense(1, name="first")(h), "second": layers.Dense(3, name="second")(h)}',
        'Y = {"first": rng.normal(size=(ROWS, 1)), "second": rng.integers(0, 3, size=ROWS)}',
    ),
}
OF_BATCH = ("mean_of_squares", "OwnLossOfMean")
NUMBERS = ("value", "values", "count")


def _function(name: str, body: str, **kwargs: object) -> Part:
    return Part(name, name, f"def {name}(y, p):\n    return {body}", names=(name,), **kwargs)


def _loss(call: str, *only: str, **kwargs: object) -> Part:
    return Part(call.split("(", maxsplit=1)[0], f"keras.losses.{call}", only=only, **kwargs)


_REDUCTION = 'reduction="{{sum_over_batch_size|sum|mean_with_sample_weight}}"'
LOSSES = [
    _loss(f"MeanSquaredError({_REDUCTION})", *NUMBERS, "onehot", "binary"),
    _loss(f"MeanAbsoluteError({_REDUCTION})", *NUMBERS),
    _loss(f"Huber({_REDUCTION})", *NUMBERS),
    _loss("LogCosh()", *NUMBERS),
    Part(
        "of_each_output",
        'OF_EACH, loss_weights={"first": 1.0, "second": 0.3}, metrics={"second": "accuracy", "first": ["mae"]}',
        'OF_EACH = {\n    "first": {{"mse"|keras.losses.Huber(reduction="sum")}},\n'
        '    "second": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='
        '"{{sum_over_batch_size|mean_with_sample_weight}}"),\n}',
        only=("both",),
    ),
    _loss("CosineSimilarity()", "values", "onehot"),
    _loss(f"Poisson({_REDUCTION})", "count"),
    _loss("MeanSquaredLogarithmicError()", "count"),
    _loss("MeanAbsolutePercentageError()", "count"),
    _loss(f"BinaryCrossentropy({_REDUCTION})", "binary", "onehot"),
    _loss("BinaryFocalCrossentropy()", "binary"),
    _loss("{{Hinge|SquaredHinge}}()", "binary"),
    _loss(f"SparseCategoricalCrossentropy({_REDUCTION})", "klass", "each"),
    _loss("SparseCategoricalCrossentropy(ignore_class=1)", "klass", "each"),
    _loss(f"CategoricalCrossentropy(label_smoothing=0.1, {_REDUCTION})", "onehot"),
    _loss("{{CategoricalFocalCrossentropy|CategoricalHinge|KLDivergence|CategoricalGeneralizedCrossEntropy}}()", "onehot"),
    _loss("{{Dice|Tversky}}()", "binary", "onehot", told=True, names=("dice", "tversky")),
    _loss("Dice(axis=1)", "onehot"),
    Part("by_name", '"{{mse|mae|log_cosh}}"', only=NUMBERS),
    _function("absolute_of_each", "tf.reduce_mean(tf.abs(y - p), axis=-1)", only=(*NUMBERS, "binary")),
    _function("mean_of_squares", "tf.reduce_mean(tf.square(y - p))", only=(*NUMBERS, "binary")),
    _function("crossentropy_of_each", "keras.losses.sparse_categorical_crossentropy(y, p)", only=("klass", "each")),
    _function("root_of_mean", "tf.sqrt(tf.reduce_mean(tf.square(y - p)))", told=True, only=(*NUMBERS, "binary")),
    _function("sum_of_squares", "tf.reduce_sum(tf.square(y - p))", told=True, only=NUMBERS),
    _function(
        "share_explained", "tf.reduce_sum(tf.square(y - p)) / (1.0 + tf.reduce_sum(tf.square(y)))", told=True, only=NUMBERS
    ),
    _function(
        "ranked",
        "tf.reduce_mean(tf.square((y - tf.transpose(y)) - (p - tf.transpose(p))), axis=-1)",
        told=True,
        only=("value",),
    ),
    _function("against_batch_mean", "tf.square(p - tf.reduce_mean(y, axis=0))", told=True, only=NUMBERS),
    Part(
        "OwnLoss",
        "OwnLoss()",
        "class OwnLoss(keras.losses.Loss):\n"
        "    def call(self, y, p):\n"
        "        return tf.reduce_mean(tf.math.log1p(tf.square(y - p)), axis=-1)",
        only=(*NUMBERS, "binary"),
    ),
    Part(
        "OwnLossOfMean",
        "OwnLossOfMean()",
        "class OwnLossOfMean(keras.losses.Loss):\n"
        "    def call(self, y, p):\n"
        "        return tf.reduce_mean(tf.math.log1p(tf.square(y - p)))",
        only=(*NUMBERS, "binary"),
    ),
    Part(
        "traced_loss",
        "traced_loss",
        "@tf.function\ndef traced_loss(y, p):\n    return tf.reduce_mean(tf.abs(y - p), axis=-1)",
        only=NUMBERS,
    ),
]


def _metric(call: str, *only: str, **kwargs: object) -> Part:
    name = call.split("(", maxsplit=1)[0]
    return Part(name, f"keras.metrics.{call}", only=only, **kwargs)


def _own_metric(name: str, update: str, result: str = "self.value", *, told: bool = True) -> Part:
    return Part(
        name,
        f'{name}(name="{name.lower()}")',
        f"class {name}(keras.metrics.Metric):\n"
        "    def __init__(self, name):\n"
        "        super().__init__(name=name)\n"
        '        self.value = self.add_variable((), "zeros", name="value")\n'
        '        self.count = self.add_variable((), "zeros", name="count")\n'
        "    def update_state(self, y, p, sample_weight=None):\n"
        "        p = tf.cast(p, self.dtype)\n"
        f"        {update}\n"
        "    def result(self):\n"
        f"        return {result}",
        told=told,
        names=(name, name.lower()),
    )


METRICS = [
    Part("named", '"{{mse|mae|cosine_similarity}}"', only=NUMBERS),
    _metric("RootMeanSquaredError()", *NUMBERS),
    _metric("R2Score()", *NUMBERS),
    _metric("MeanMetricWrapper(keras.losses.mean_absolute_error, name='wrapped')", *NUMBERS),
    _metric("{{MeanAbsolutePercentageError|MeanSquaredLogarithmicError|Poisson}}()", "count"),
    Part("accuracy", '"accuracy"', only=("binary", "klass", "onehot", "each")),
    _metric("AUC({{num_thresholds=20|curve='PR'}})", "binary"),
    _metric("{{Precision|Recall|TruePositives|FalseNegatives}}()", "binary"),
    _metric("{{SensitivityAtSpecificity|PrecisionAtRecall}}(0.5)", "binary"),
    _metric("BinaryIoU()", "binary"),
    _metric("F1Score({{average='macro'|average='weighted'|average=None}})", "onehot"),
    _metric("FBetaScore(average='micro', threshold=0.4)", "onehot"),
    _metric(
        "{{TopKCategoricalAccuracy(2, dtype='float32')|AUC(multi_label=True)|KLDivergence()|CategoricalCrossentropy()}}",
        "onehot",
    ),
    _metric("MeanIoU(3, sparse_y_pred=False)", "klass"),
    _function("worst_of_each", "tf.reduce_max(tf.abs(tf.cast(y, p.dtype) - p), axis=-1)", only=(*NUMBERS, "binary")),
    _function("mean_error", "tf.reduce_mean(tf.abs(y - p))", told=True, only=NUMBERS),
    _function("spread", "tf.math.reduce_std(p)", told=True),
    _function("largest_output", "tf.reduce_max(p)", told=True),
    _function(
        "explained",
        "1.0 - tf.reduce_sum(tf.square(y - p)) / tf.reduce_sum(tf.square(y - tf.reduce_mean(y)))",
        told=True,
        only=NUMBERS,
    ),
    _own_metric("SumOfRows", "self.value.assign_add(tf.reduce_sum(p))", told=False),
    _own_metric(
        "RatioOfSums",
        "self.value.assign_add(tf.reduce_sum(p)); self.count.assign_add(tf.cast(tf.size(p), self.dtype))",
        "self.value / (self.count + 1.0)",
        told=False,
    ),
    _own_metric("SumOfBatchMeans", "self.value.assign_add(tf.reduce_mean(p))"),
    _own_metric("Batches", "self.count.assign_add(1.0)", "self.count"),
    _own_metric("Largest", "self.value.assign(tf.maximum(self.value, tf.reduce_max(p)))"),
    _own_metric(
        "MeanOfMaxima",
        "self.value.assign_add(tf.reduce_max(p)); self.count.assign_add(1.0)",
        "self.value / tf.maximum(self.count, 1.0)",
    ),
    _own_metric(
        "MeanOfMeans",
        "self.value.assign_add(tf.reduce_mean(p)); self.count.assign_add(1.0)",
        "self.value / tf.maximum(self.count, 1.0)",
    ),
    _own_metric("LastBatch", "self.value.assign(tf.reduce_mean(p))"),
]
