"""How a model is trained: optimizers, steps of one's own, callbacks."""

from fuzz.parts import Part

_EXTRA = (
    "{{|, clipnorm=0.05|, clipvalue=0.02|, global_clipnorm=0.05|, use_ema=True, ema_overwrite_frequency=2"
    "|, gradient_accumulation_steps=2|, weight_decay=0.01}}"
)
_RATE = "{{0.05|keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.7)|keras.optimizers.schedules.CosineDecay(0.05, 9)}}"
OPTIMIZERS = [
    Part("SGD", f"keras.optimizers.SGD({_RATE}{{{{|, momentum=0.9|, momentum=0.9, nesterov=True}}}}{_EXTRA})"),
    Part("Adam", f"keras.optimizers.Adam({_RATE}, epsilon=1e-3{{{{|, amsgrad=True}}}}{_EXTRA})"),
    Part("RMSprop", f"keras.optimizers.RMSprop({_RATE}, epsilon=1e-3{{{{|, centered=True|, momentum=0.5}}}}{_EXTRA})"),
    Part("others", f"keras.optimizers.{{{{Adagrad|Adadelta|Adamax|Nadam|AdamW|Lamb}}}}({_RATE}, epsilon=1e-3)"),
    Part("others", "keras.optimizers.{{Ftrl(0.05)|Adafactor(0.05)|SGD(0.05)}}"),
    Part("scaled", "keras.optimizers.LossScaleOptimizer(keras.optimizers.{{SGD(0.05)|Adam(0.05, epsilon=1e-3)}})"),
    Part("named", '"{{sgd|adam|rmsprop}}"'),
    Part(
        "own_update",
        "OwnUpdate(0.05)",
        "class OwnUpdate(keras.optimizers.SGD):\n"
        "    def update_step(self, gradient, variable, learning_rate):\n"
        "        if isinstance(gradient, tf.IndexedSlices):\n"
        "            gradient = tf.convert_to_tensor(gradient)\n"
        "        scale = 1.0 + tf.norm(tf.cast(gradient, variable.dtype))\n"
        "        variable.assign_sub(tf.cast(learning_rate, variable.dtype) * gradient / scale)",
    ),
    Part(
        "own_apply",
        "OwnApply(0.05{{|, momentum=0.9}})",
        "class OwnApply(keras.optimizers.SGD):\n"
        "    def apply(self, grads, trainable_variables=None):\n"
        "        grads = [tf.convert_to_tensor(g) for g in grads]\n"
        "        grads = [{{tf.tanh(20.0 * g)|g / (tf.norm(g) + 0.1)|g - tf.reduce_mean(g)}} for g in grads]\n"
        "        return super().apply(grads, trainable_variables)",
    ),
]


def _step(
    name: str, between: str = "", logs: str = "", *, loss: str = "self.compute_loss(x, y, predicted, weight)", **kwargs
) -> Part:
    """A step in the manner of keras.io's guides; ``between`` is what it does to its gradients, ``logs`` what it adds."""
    lines = [
        "class Stepping(keras.Model):",
        "    def train_step(self, data):",
        "        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)",
        "        with tf.GradientTape() as tape:",
        "            predicted = self(x, training=True)",
        f"            loss = {loss}",
        "        gradients = tape.gradient(loss, self.trainable_variables)",
        *(f"        {line}" for line in between.splitlines()),
        "        self.optimizer.apply(gradients, self.trainable_variables)",
        "        for metric in self.metrics:",
        '            if metric.name == "loss":',
        "                metric.update_state(loss)",
        "        logs = self.compute_metrics(x, y, predicted, weight)",
        *(f"        {line}" for line in logs.splitlines()),
        "        return logs",
    ]
    return Part(name, "Stepping(inputs, outputs)", "\n".join(lines), **kwargs)


def _text(text: str) -> str:
    return text.strip("\n")


STEPS = [
    _step("plain"),
    _step("clips", "gradients, norm = tf.clip_by_global_norm(gradients, 0.05)"),
    _step(
        "clips_each",
        "gradients = [tf.clip_by_{{norm(g, 0.02)|value(tf.convert_to_tensor(g), -0.01, 0.01)}} for g in gradients]",
    ),
    _step(
        "normalises",
        "gradients = [tf.convert_to_tensor(g) for g in gradients]\ngradients = [g / (tf.norm(g) + 0.1) for g in gradients]",
    ),
    _step("logs_norm", logs='logs["norm"] = tf.linalg.global_norm(gradients)', names=("norm",)),
    _step("logs_rate", logs='logs["rate"] = tf.cast(self.optimizer.learning_rate, "float64")'),
    _step("logs_spread", logs='logs["deviation"] = tf.math.reduce_std(predicted)', told=True, names=("deviation",)),
    _step("logs_maximum", logs='logs["top"] = tf.reduce_max(predicted)', told=True, names=("top",)),
    _step("logs_mean", logs='logs["average"] = tf.reduce_mean(predicted)', told=True, names=("average",)),
    _step("logs_rows", logs='logs["rows"] = tf.cast(tf.shape(predicted)[0], "float64")', told=True, names=("rows",)),
    _step(
        "own_weights",
        loss="self.compute_loss(x, y, predicted, weight)"
        " + 0.01 * tf.add_n([tf.reduce_sum(tf.square(v)) for v in self.trainable_variables])",
    ),
    _step("own_loss", loss="tf.reduce_mean(tf.square(predicted - 0.3))"),
    _step("own_loss_per_row", loss="tf.square(predicted - 0.3)", told=True, names=("loss", "train_step", "gradient")),
    _step("own_sum_by_rows", loss="tf.reduce_sum(tf.square(predicted)) / tf.cast(tf.shape(predicted)[0], predicted.dtype)"),
    _step("own_sum", loss="tf.reduce_sum(tf.square(predicted))", told=True, names=("loss", "train_step")),
    _step("own_root", loss="tf.sqrt(tf.reduce_mean(tf.square(predicted)) + 0.1)", told=True, names=("loss", "train_step")),
    _step(
        "own_contrast",
        loss="tf.reduce_logsumexp(tf.matmul(tf.reshape(predicted, [-1, 1]), tf.reshape(predicted, [1, -1])))",
        told=True,
        names=("loss", "train_step", "gradient"),
    ),
    Part(
        "two_optimizers",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.second = keras.optimizers.{{SGD(0.02)|Adam(0.02, epsilon=1e-3)}}
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent={{True|False}}) as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted, weight)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients[:-2], self.trainable_variables[:-2])
        self.second.apply(gradients[-2:], self.trainable_variables[-2:])
        return {"loss": loss, **self.compute_metrics(x, y, predicted, weight)}
"""
        ),
        told=True,
        names=("loss",),
    ),
    Part(
        "accumulates",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.step = self.add_weight(shape=(), initializer="zeros", trainable=False, name="step")
        self.sums = [self.add_weight(shape=v.shape, initializer="zeros", trainable=False, name=f"sum_{i}")
                     for i, v in enumerate(self.trainable_variables)]
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted, weight)
        for total, gradient in zip(self.sums, tape.gradient(loss, self.trainable_variables)):
            total.assign_add(tf.convert_to_tensor(gradient))
        self.step.assign_add(1.0)
        due = tf.cast(tf.equal(self.step % 2.0, 0.0), self.step.dtype)
        self.optimizer.apply([due * total / 2.0 for total in self.sums], self.trainable_variables)
        for total in self.sums:
            total.assign((1.0 - due) * total)
        return self.compute_metrics(x, y, predicted, weight)
"""
        ),
    ),
    Part(
        "sharpness_aware",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weight)
        first = [tf.convert_to_tensor(g) for g in tape.gradient(loss, self.trainable_variables)]
        scale = 0.05 / (tf.linalg.global_norm(first) + 1e-6)
        for variable, gradient in zip(self.trainable_variables, first):
            variable.assign_add(scale * gradient)
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted, weight)
        second = tape.gradient(loss, self.trainable_variables)
        for variable, gradient in zip(self.trainable_variables, first):
            variable.assign_sub(scale * gradient)
        self.optimizer.apply(second, self.trainable_variables)
        return self.compute_metrics(x, y, predicted, weight)
"""
        ),
    ),
    Part(
        "gradient_penalty",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(x)
                predicted = self(x, training=True)
            slope = tf.reshape(inner.gradient(predicted, x), [tf.shape(x)[0], -1])
            norm = tf.sqrt(tf.reduce_sum(tf.square(slope), axis=1) + 1e-3)
            loss = self.compute_loss(x, y, predicted, weight) + 0.1 * tf.reduce_mean(tf.square(norm - 1.0))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return self.compute_metrics(x, y, predicted, weight)
"""
        ),
        only=("vector", "series", "image"),
    ),
    Part(
        "own_metrics",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.own = keras.metrics.{{Sum|Mean}}(name="own")
    @property
    def metrics(self):
        return [*super().metrics, self.own]
    def train_step(self, data):
        logs = super().train_step(data)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.own.update_state({{1.0|tf.reduce_max(tf.abs(self(x)))|tf.reduce_mean(self(x))|self(x)}})
        return {**logs, "own": self.own.result()}
"""
        ),
        told=True,
        names=("own",),
    ),
    Part(
        "own_test_step",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def test_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        predicted = self(x, training=False)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(self.compute_loss(x, y, predicted, weight))
        return self.compute_metrics(x, y, predicted, weight)
"""
        ),
    ),
    Part(
        "own_compute_loss",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + {{0.1 * tf.reduce_mean(tf.abs(y_pred))|0.1 * tf.sqrt(tf.reduce_mean(tf.square(y_pred)))}}
"""
        ),
        told=True,
        names=("loss",),
    ),
    Part(
        "moving_teacher",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.averages = [self.add_weight(shape=v.shape, initializer="zeros", trainable=False, name=f"average_{i}")
                         for i, v in enumerate(self.trainable_variables)]
    def train_step(self, data):
        logs = super().train_step(data)
        for average, variable in zip(self.averages, self.trainable_variables):
            average.assign(0.9 * average + 0.1 * variable)
        return logs
"""
        ),
    ),
    Part(
        "adversaries",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        hidden = [layers.Dense(4, activation="tanh"){{|, layers.BatchNormalization()}}]
        self.critic = keras.Sequential([*hidden, layers.Dense(1)])
        self.critic.build((None, *self.output_shape[1:]))
        self.critic_optimizer = keras.optimizers.Adam(0.01, epsilon=1e-3)
        self.critic_loss = keras.metrics.Mean(name="critic_loss")
    @property
    def metrics(self):
        return [*super().metrics, self.critic_loss]
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        made = self(x, training=True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.softplus(self.critic(made, training=True)))
        weights = self.critic.trainable_variables
        self.critic_optimizer.apply(tape.gradient(loss, weights), weights)
        self.critic_loss.update_state(loss)
        with tf.GradientTape() as tape:
            made = self(x, training=True)
            fooled = tf.reduce_mean(tf.nn.softplus(-self.critic(made, training=True)))
            own = self.compute_loss(x, y, made, weight) + 0.1 * fooled
        mine = [v for v in self.trainable_variables if not any(v is w for w in weights)]
        self.optimizer.apply(tape.gradient(own, mine), mine)
        return {"critic_loss": self.critic_loss.result(), **self.compute_metrics(x, y, made, weight)}
"""
        ),
    ),
    Part(
        "traced_helper",
        "Stepping(inputs, outputs)",
        _text(
            """
class Stepping(keras.Model):
    @tf.function
    def gradients_of(self, x, y, weight):
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted, weight)
        return tape.gradient(loss, self.trainable_variables), predicted
    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        gradients, predicted = self.gradients_of(x, y, weight)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.compute_metrics(x, y, predicted, weight)
"""
        ),
    ),
]

CALLBACKS = [
    Part(
        "early",
        'keras.callbacks.EarlyStopping("loss", patience=0, min_delta={{0.0|10.0}}, restore_best_weights={{True|False}})',
    ),
    Part("schedule", "keras.callbacks.LearningRateScheduler(lambda epoch, rate: float(rate) * 0.5)", only=("0.05",)),
    Part("plateau", 'keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0)', only=("0.05",)),
    Part("nan", "keras.callbacks.TerminateOnNaN()"),
    Part("csv", 'keras.callbacks.CSVLogger(tempfile.mkdtemp() + "/log.csv")'),
    Part(
        "checkpoint",
        'keras.callbacks.ModelCheckpoint(tempfile.mkdtemp() + "/best.weights.h5", monitor="loss", save_weights_only=True)',
    ),
    Part(
        "watching",
        "Watching()",
        "SEEN = []\n"
        "class Watching(keras.callbacks.Callback):\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        "        SEEN.append({name: np.asarray(value, float) for name, value in logs.items()})",
    ),
    Part(
        "steering",
        "Steering()",
        "class Steering(keras.callbacks.Callback):\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        '        self.model.optimizer.learning_rate = 0.02 / (1.0 + abs(float(logs["loss"])))',
        only=("0.05",),
    ),
    Part(
        "stopping",
        "Stopping()",
        "class Stopping(keras.callbacks.Callback):\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        "        self.model.stop_training = self.model.optimizer.iterations.numpy() >= 2",
    ),
    Part(
        "examining",
        "Examining()",
        "SCORES = []\n"
        "class Examining(keras.callbacks.Callback):\n"
        "    def on_epoch_end(self, epoch, logs=None):\n"
        "        examined, wanted = tf.nest.map_structure(lambda part: part[:5], (X, Y))\n"
        "        found = {{self.model.predict(examined, verbose=0)|self.model(examined)"
        "|self.model.evaluate(examined, wanted, verbose=0, return_dict=True)['loss']}}\n"
        "        SCORES.append(np.asarray(tf.nest.flatten(found)[-1]))",
    ),
    Part(
        "lambda", "keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(doubled=2.0 * logs['loss']))"
    ),
]
