"""What comes in, and layers: each takes ``h`` and leaves ``h``. Sources and bridges say which kind of tensor ``h`` is."""

from fuzz.parts import Part

SOURCES = {
    "vector": Part("vector", "inputs = h = keras.Input((6,))", "X = rng.normal(size=(ROWS, 6))"),
    "image": Part("image", "inputs = h = keras.Input((6, 6, 2))", "X = rng.normal(size=(ROWS, 6, 6, 2))"),
    "series": Part("series", "inputs = h = keras.Input((5, 3))", "X = rng.normal(size=(ROWS, 5, 3))"),
    "words": Part(
        "words",
        'inputs = keras.Input((6,), dtype="int32")\nh = layers.Embedding(12, 4, mask_zero={{True|False}})(inputs)',
        "X = rng.integers(1, 12, size=(ROWS, 6))\nX[:, 3:][rng.random((ROWS, 3)) < 0.5] = 0",
    ),
    "two": Part(
        "two",
        'inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((4,), name="b")}\n'
        'h = layers.Concatenate()([layers.Dense(4, activation="tanh")(inputs["a"]), inputs["b"]])',
        'X = {"a": rng.normal(size=(ROWS, 6)), "b": rng.normal(size=(ROWS, 4))}',
    ),
    "ids": Part(
        "ids",
        'inputs = [keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")]\n'
        "users, items = (layers.Flatten()(layers.Embedding(9, 4)(each)) for each in inputs)\n"
        "h = layers.Concatenate()([users, items, layers.Dot(1)([users, items])])",
        "X = (rng.integers(0, 9, size=(ROWS, 1)), rng.integers(0, 9, size=(ROWS, 1)))",
    ),
}
KINDS = {"vector": "vector", "two": "vector", "ids": "vector", "image": "image", "series": "series", "words": "series"}

OWN_LAYERS = [
    Part(
        "centre_on_batch",
        "h = CentreOnBatch()(h)",
        "class CentreOnBatch(layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x - tf.reduce_mean(x, axis=0, keepdims=True)",
        told=True,
        names=("centre_on_batch", "CentreOnBatch"),
    ),
    Part(
        "moving_mean",
        "h = MovingMean()(h)",
        "class MovingMean(layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="moving")\n'
        "    def call(self, x, training=False):\n"
        "        if training:\n"
        "            average = tf.reduce_mean(x, axis=list(range(len(x.shape) - 1)))\n"
        "            self.mean.assign(0.9 * self.mean + 0.1 * average)\n"
        "        return x - self.mean",
        told=True,
        names=("moving_mean", "MovingMean", "moving"),
    ),
    Part(
        "counts_rows",
        "h = CountsRows()(h)",
        "class CountsRows(layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")\n'
        "    def call(self, x):\n"
        "        self.seen.assign_add(tf.cast(tf.shape(x)[0], self.seen.dtype))\n"
        "        return x",
        told=True,
        names=("counts_rows", "CountsRows", "seen"),
    ),
    Part(
        "counts_steps",
        "h = CountsSteps()(h)",
        "class CountsSteps(layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")\n'
        "    def call(self, x, training=False):\n"
        "        if training:\n"
        "            self.steps.assign_add(1.0)\n"
        "        return x / (1.0 + 0.1 * self.steps)",
    ),
    Part(
        "penalty_of_means",
        "h = PenaltyOfMeans()(h)",
        "class PenaltyOfMeans(layers.Layer):\n"
        "    def call(self, x):\n"
        "        self.add_loss(0.1 * tf.reduce_mean(tf.square(x)))\n"
        "        return x",
    ),
    Part(
        "penalty_of_sums",
        "h = PenaltyOfSums()(h)",
        "class PenaltyOfSums(layers.Layer):\n"
        "    def call(self, x):\n"
        "        self.add_loss(0.01 * tf.reduce_sum(tf.square(x)))\n"
        "        return x",
        told=True,
        names=("penalty_of_sums", "PenaltyOfSums", "add_loss"),
    ),
    Part(
        "penalty_of_the_batch_mean",
        "h = PenaltyOfTheBatchMean()(h)",
        "class PenaltyOfTheBatchMean(layers.Layer):\n"
        "    def call(self, x):\n"
        "        self.add_loss(0.1 * tf.reduce_sum(tf.square(tf.reduce_mean(x, axis=0))))\n"
        "        return x",
        told=True,
        names=("penalty_of_the_batch_mean", "PenaltyOfTheBatchMean", "add_loss"),
    ),
    Part(
        "penalty_of_weights",
        "h = PenaltyOfWeights()(h)",
        "class PenaltyOfWeights(layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")\n'
        "    def call(self, x):\n"
        "        self.add_loss(0.1 * tf.reduce_sum(tf.square(self.scale - 0.5)))\n"
        "        return x * self.scale",
    ),
    Part(
        "noise",
        "h = Noise()(h)",
        "DRAWN = []\n"
        "class Noise(layers.Layer):\n"
        "    def call(self, x, training=False):\n"
        "        if training:\n"
        "            noise = tf.random.normal(tf.shape(x), dtype=x.dtype)\n"
        "            tf.numpy_function(lambda numbers: DRAWN.append(numbers[0].tolist()), [noise], [])\n"
        "            x = x + 0.0 * noise\n"
        "        return x",
    ),
    Part(
        "branches",
        "h = Branches()(h)",
        "class Branches(layers.Layer):\n"
        "    def call(self, x, training=False):\n"
        "        return tf.where(x > 0, x, {{tf.sin(x)|0.3 * x}}) if training else tf.identity(x)",
    ),
    Part(
        "scaled_by_the_row",
        "h = ScaledByTheRow()(h)",
        "class ScaledByTheRow(layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x / (1.0 + tf.reduce_max(tf.abs(x), axis=-1, keepdims=True))",
    ),
    Part(
        "chosen_by_constants",
        "h = ChosenByConstants()(h)",
        "class ChosenByConstants(layers.Layer):\n"
        "    def build(self, shape):\n"
        '        self.table = self.add_weight(shape=(9, shape[-1]), initializer="normal", name="table")\n'
        "    def call(self, x):\n"
        "        return x + tf.reduce_sum(tf.gather(self.table, [1, 4, {{1|7}}]), axis=0)",
    ),
    Part(
        "fixed_positions",
        "h = FixedPositions()(h)",
        "class FixedPositions(layers.Layer):\n"
        "    def build(self, shape):\n"
        "        self.table = layers.Embedding(shape[-1], 1)\n"
        "    def call(self, x):\n"
        "        return x + self.table(ops.arange(x.shape[-1]))[:, 0]",
    ),
]

ANY = [
    Part("dense", 'h = layers.Dense({{4|7}}, activation="{{relu|tanh|gelu|silu|linear}}")(h)'),
    Part(
        "regularized",
        'h = layers.Dense(5, kernel_regularizer="l{{1|2}}", {{bias_regularizer|activity_regularizer}}="l2")(h)',
    ),
    Part("constrained", 'h = layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(1.0), activation="selu")(h)'),
    Part("no_dropout", "h = layers.{{Dropout|GaussianDropout|GaussianNoise|AlphaDropout}}(0.0)(h)"),
    Part("batch_norm", "h = layers.BatchNormalization({{momentum=0.8|scale=False|center=False}})(h)"),
    Part("layer_norm", "h = layers.{{LayerNormalization|RMSNormalization|UnitNormalization}}()(h)"),
    Part("spectral", "h = layers.SpectralNormalization(layers.Dense(4))(h)"),
    Part("residual", 'h = layers.Add()([h, layers.Dense(h.shape[-1], activation="tanh")(h)])'),
    Part(
        "shared", 'shared = layers.Dense(h.shape[-1], activation="tanh")\nh = layers.Add()([shared(h), shared(shared(h))])'
    ),
    Part("gated", 'h = layers.Multiply()([h, layers.Dense(h.shape[-1], activation="sigmoid")(h)])'),
    Part("leaky", "h = layers.{{LeakyReLU|ELU|Softmax|ReLU}}()(h)"),
    Part("prelu", "h = layers.PReLU()(h)"),
    Part("rescaled", "h = layers.Rescaling(0.5, offset=0.1)(h)"),
    Part("shy", "h = layers.ActivityRegularization(l1=0.01, l2=0.01)(h)"),
    Part("lambda", "h = layers.Lambda(lambda x: {{ops.tanh(x)|x * ops.sigmoid(x)|tf.clip_by_value(x, -1.0, 1.0)}})(h)"),
    Part("frozen", "frozen = layers.{{Dense(4)|BatchNormalization()}}\nfrozen.trainable = False\nh = frozen(h)"),
    *OWN_LAYERS,
]
VECTOR = [
    *ANY,
    Part(
        "nested",
        "last = layers.{{BatchNormalization()|LayerNormalization()|Activation('relu')}}\n"
        "h = keras.Sequential([layers.Dense(5), last])(h)",
    ),
    Part("group_norm", "h = layers.GroupNormalization({{1|2}})(layers.Dense(4)(h))"),
    Part("maxout", "h = layers.Maximum()([layers.Dense(4)(h), layers.Dense(4)(h)])"),
    Part(
        "adapted",
        "normalizer = layers.Normalization()\nnormalizer.adapt(rng.normal(size=(20, h.shape[-1])))\nh = normalizer(h)",
    ),
    Part("as_series", "h = layers.Flatten()(layers.{{GRU|SimpleRNN|LSTM}}(3)(layers.Reshape((h.shape[-1], 1))(h)))"),
]
IMAGE = [
    *ANY,
    Part("conv", 'h = layers.Conv2D({{3|4}}, 3, padding="same", activation="{{relu|tanh}}", use_bias={{True|False}})(h)'),
    Part("depthwise", 'h = layers.{{DepthwiseConv2D(3|SeparableConv2D(4, 3}}, padding="same")(h)'),
    Part("transposed", 'h = layers.Conv2DTranspose(3, 2, padding="same")(h)'),
    Part("pooled", 'h = layers.{{MaxPooling2D|AveragePooling2D}}(2, strides=1, padding="same")(h)'),
    Part("up_and_down", "h = layers.AveragePooling2D(2)(layers.UpSampling2D(2)(h))"),
    Part("padded", "h = layers.Cropping2D(1)(layers.ZeroPadding2D(1)(h))"),
    Part("group_norm", "h = layers.GroupNormalization(2)(layers.Conv2D(4, 1)(h))"),
    Part("spatial_dropout", "h = layers.SpatialDropout2D(0.0)(h)"),
    Part(
        "squeeze",
        'gate = layers.Dense(h.shape[-1], activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(h))\n'
        "h = layers.Multiply()([h, gate])",
    ),
]
SERIES = [
    *ANY,
    Part("recurrent", "h = layers.{{LSTM|GRU|SimpleRNN}}({{3|4}}, return_sequences=True)(h)"),
    Part("bidirectional", "h = layers.Bidirectional(layers.{{LSTM|GRU}}(2, return_sequences=True))(h)"),
    Part("conv", 'h = layers.Conv1D(4, 2, padding="{{same|causal}}", activation="relu")(h)'),
    Part("attention", "h = layers.MultiHeadAttention(2, 3)(h, h{{|, use_causal_mask=True}})"),
    Part("dot_attention", "h = layers.{{Attention|AdditiveAttention}}()([h, h])"),
    Part("each_step", "h = layers.TimeDistributed(layers.Dense(3, activation='tanh'))(h)"),
    Part("masking", "h = layers.Masking()(h)"),
    Part("pooled", 'h = layers.{{MaxPooling1D|AveragePooling1D}}(2, strides=1, padding="same")(h)'),
    Part(
        "positions",
        "h = Positions()(h)",
        "class Positions(layers.Layer):\n"
        "    def build(self, shape):\n"
        "        self.table = layers.Embedding({{shape[1]|20}}, shape[-1])\n"
        "    def call(self, x):\n"
        "        return x + self.table(ops.arange({{x.shape[1]|ops.shape(x)[1]}}))",
    ),
]
BLOCKS = {"vector": VECTOR, "image": IMAGE, "series": SERIES}

BRIDGES = {
    "vector": [Part("none")],
    "image": [Part("flat", "h = layers.{{Flatten|GlobalAveragePooling2D|GlobalMaxPooling2D}}()(h)")],
    "series": [
        Part("last", "h = layers.{{LSTM|GRU}}(4)(h)"),
        Part("average", "h = layers.GlobalAveragePooling1D()(h)"),
        Part("flat", "h = layers.{{Flatten|GlobalMaxPooling1D}}()(h)"),
    ],
}

WRAPPINGS = [
    Part("functional"),
    Part(
        "wrapped",
        "model = Wrapped(model)",
        "class Wrapped(keras.Model):\n"
        "    def __init__(self, inner):\n"
        "        super().__init__()\n"
        "        self.inner = inner\n"
        "    def call(self, x, training=False):\n"
        "        return self.inner(x, training=training)",
    ),
]
