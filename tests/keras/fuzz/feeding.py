"""How rows reach ``fit``, what weighs them, and the options of ``fit`` and ``compile``."""

from fuzz.parts import Part

_ARRAYS = "tf.data.Dataset.from_tensor_slices(GIVEN)"
FEEDS = [
    Part("arrays", "X, Y, batch_size=BATCH"),
    Part("arrays_in_order", "X, Y, batch_size=BATCH, shuffle=False"),
    Part("batched", "data", f"data = {_ARRAYS}.batch(BATCH)"),
    Part("shuffled", "data", f"data = {_ARRAYS}.shuffle({{{{16|100}}}}{{{{, seed=3|}}}}).batch(BATCH)"),
    Part(
        "shuffled_once",
        "data",
        f"data = {_ARRAYS}.shuffle(16, seed=3, reshuffle_each_iteration=False).batch(BATCH).prefetch(1)",
    ),
    Part("whole_batches", "data", f"data = {_ARRAYS}.batch(BATCH, drop_remainder=True)"),
    Part("mapped", "data", f"data = {_ARRAYS}.map(lambda x, *rest: (x, *rest)).shuffle(9, seed=1).batch(BATCH)"),
    Part(
        "mapped_side_by_side",
        "data",
        f"data = {_ARRAYS}.map(lambda x, *rest: (x, *rest), num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)",
    ),
    Part("mapped_batches", "data", f"data = {_ARRAYS}.batch(BATCH).map(lambda x, *rest: (x, *rest)).cache()"),
    Part(
        "filtered",
        "data",
        f"data = {_ARRAYS}.enumerate().filter(lambda i, row: i % 5 > 0).map(lambda i, row: row).batch(BATCH)\n"
        # Keras finds the end of what it cannot count by a step without data, in which counters may move already
        "data = data.apply(tf.data.experimental.assert_cardinality(-(-(ROWS - -(-ROWS // 5)) // BATCH)))",
    ),
    Part("endless", "data, steps_per_epoch=2", f"data = {_ARRAYS}.repeat().batch(BATCH)"),
    Part(
        "augmented",
        "data",
        "noisy = lambda x: x + 0.1 * tf.random.stateless_normal(tf.shape(x), [1, 2], tf.float64)\n"
        f"data = {_ARRAYS}.map(lambda x, *rest: (noisy(x), *rest)"
        "{{|, num_parallel_calls=2}}).batch(BATCH)",
        only=("vector", "image", "series"),
    ),
    Part(
        "augmented_at_random",
        "data",
        "noisy = lambda x: x + 0.1 * tf.random.normal(tf.shape(x), dtype=tf.float64)\n"
        f"data = {_ARRAYS}.map(lambda x, *rest: (noisy(x), *rest)).batch(BATCH)",
        only=("vector", "image", "series"),
    ),
    Part(
        "generator",
        "batches(), steps_per_epoch=2",
        "def batches():\n"
        "    while True:\n"
        "        for start in range(0, ROWS, BATCH):\n"
        "            yield tf.nest.map_structure(lambda part: part[start : start + BATCH], GIVEN)",
    ),
    Part(
        "random_generator",
        "batches(), steps_per_epoch=2",
        "def batches():\n"
        "    while True:\n"
        "        chosen = {{np.random.permutation(ROWS)|rng.permutation(ROWS)}}[:BATCH]\n"
        "        yield tf.nest.map_structure(lambda part: part[chosen], GIVEN)",
    ),
    Part(
        "sequence",
        "Batches()",
        "class Batches(keras.utils.PyDataset):\n"
        "    def __len__(self):\n"
        "        return -(-ROWS // BATCH)\n"
        "    def __getitem__(self, index):\n"
        "        rows = slice(index * BATCH, (index + 1) * BATCH)\n"
        "        return tf.nest.map_structure(lambda part: part[rows], GIVEN)",
    ),
    Part(
        "changing_sequence",
        "Batches(){{, shuffle=False|}}",
        "class Batches(keras.utils.PyDataset):\n"
        "    def __init__(self):\n"
        "        super().__init__(workers={{1|2}})\n"
        "        self.order = np.arange(ROWS)\n"
        "    def __len__(self):\n"
        "        return -(-ROWS // BATCH)\n"
        "    def __getitem__(self, index):\n"
        "        rows = self.order[index * BATCH : (index + 1) * BATCH]\n"
        "        return tf.nest.map_structure(lambda part: part[rows], GIVEN)\n"
        "    def on_epoch_end(self):\n"
        "        self.order = self.order[::-1]",
    ),
]

WEIGHTINGS = [
    Part("none"),
    Part("weights", define="W = rng.random(ROWS) + 0.1"),
    Part("some_zero", define="W = (rng.random(ROWS) > 0.4) * 1.0"),
    Part("classes", "class_weight={0: 1.0, 1: 3.0, 2: 0.5}", only=("klass", "onehot")),
]
VALIDATIONS = [
    Part("none"),
    Part("split", "validation_split=0.3", only=("arrays", "arrays_in_order")),
    Part("data", "validation_data=GIVEN, validation_batch_size={{4|7}}"),
    Part("dataset", "validation_data=tf.data.Dataset.from_tensor_slices(GIVEN).batch({{4|7}})"),
    Part("seldom", "validation_data=GIVEN, validation_freq=2, validation_batch_size=5"),
]
OPTIONS = [
    Part("none"),
    Part("steps", "steps_per_execution=2"),
    Part("scaled", "auto_scale_loss=False"),
]
BEGINNINGS = [Part("first"), Part("later", "initial_epoch=1")]

AFTERWARDS = [
    Part("scores", "scores = model.evaluate(X, Y, batch_size={{5|9}}, verbose=0, return_dict=True)"),
    Part("predicted", "predicted = model.predict(X, batch_size=7, verbose=0)"),
    Part(
        "on_batch",
        "few = tf.nest.map_structure(lambda part: part[:{{1|5}}], (X, Y))\n"
        "scores = model.train_on_batch(*few, return_dict=True)",
    ),
    Part(
        "test_on_batch",
        "few = tf.nest.map_structure(lambda part: part[:3], (X, Y))\nscores = model.test_on_batch(*few, return_dict=True)",
    ),
    Part("again", "model.fit(X, Y, batch_size=BATCH, epochs=1, verbose=0)"),
    Part("thawed", 'model.compile("sgd", model.loss)\nmodel.fit(X, Y, batch_size=BATCH, epochs=1, verbose=0)'),
]
