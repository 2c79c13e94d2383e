"""A program as a list of pieces: drawn from a seed, written as text, made simpler."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from fuzz import blocks, feeding, judging, training
from fuzz.parts import Part, stream

NONE = Part("none")


@dataclass(frozen=True)
class Recipe:
    """What one program is made of."""

    world: int
    rows: int
    batch: int
    epochs: int
    source: Part
    blocks: tuple[Part, ...]
    bridge: Part
    target: Part
    wrapping: Part
    loss: Part
    metrics: tuple[Part, ...]
    weighted: tuple[Part, ...]
    optimizer: Part
    step: Part
    weighting: Part
    feed: Part
    validation: Part
    option: Part
    beginning: Part
    callbacks: tuple[Part, ...]
    after: tuple[Part, ...]

    def parts(self) -> list[Part]:
        """All pieces, in the order in which a program names them."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            found += [value] if isinstance(value, Part) else list(value) if isinstance(value, tuple) else []
        return found

    @property
    def told(self) -> list[Part]:
        """The pieces for which ranks may refuse or warn."""
        # one number for a batch times the weights of its rows
        product = [self.loss] if self.loss.name in judging.OF_BATCH and self.weighting.name != "none" else []
        return product + [part for part in self.parts() if part.told]


TELLING = ("blocks", "loss", "metrics", "weighted", "step")


def draw(seed: int) -> Recipe:
    """Draw a program.

    Three in five are made of exact pieces alone, the others have told ones in one place, so that causes stay apart.
    """
    telling = stream(seed, "telling")
    place = telling.choice(TELLING) if telling.random() < 0.4 else ""

    def offered(what: str, parts: list[Part], *beside: str) -> list[Part]:
        fitting = [part for part in parts if part.fits(*beside) and (what == place or not part.told)]
        told = [part for part in fitting if part.told]
        return fitting + 2 * told

    def one(what: str, parts: list[Part], *beside: str, often: float = 0.0) -> Part:
        """Draw one piece that fits; the first of the list with a probability of ``often``."""
        random = stream(seed, what)
        fitting = offered(what, parts, *beside)
        first = random.random() < often
        return (fitting[0] if first else random.choice(fitting)).drawn(random)

    def some(what: str, parts: list[Part], at_most: int, *beside: str) -> tuple[Part, ...]:
        random = stream(seed, what)
        fitting = offered(what, parts, *beside)
        count = min(random.randint(0, at_most), len(fitting))
        return tuple(part.drawn(random) for part in random.sample(fitting, count))

    sizes = stream(seed, "sizes")
    batch = sizes.randint(4, 10)
    rows = batch * sizes.randint(1, 2) + sizes.randint(1, batch)
    source = one("source", list(blocks.SOURCES.values()))
    kind = blocks.KINDS[source.name]
    layers = some("blocks", blocks.BLOCKS[kind], 4)
    if not layers:
        layers = (one("block", blocks.BLOCKS[kind]),)
    targets = [part for name, part in judging.TARGETS.items() if kind == "series" or name != "each"]
    target = one("target", targets)
    optimizer = one("optimizer", training.OPTIMIZERS)
    rate = "0.05" if "schedules" not in optimizer.use and "Schedule" not in optimizer.use else ""
    feed = one("feed", feeding.FEEDS, source.name, often=0.25)
    return Recipe(
        world=sizes.choice((2, 2, 3)),
        rows=rows,
        batch=batch,
        epochs=sizes.randint(1, 2),
        source=source,
        blocks=layers,
        bridge=NONE if target.name == "each" else one("bridge", blocks.BRIDGES[kind]),
        target=target,
        wrapping=one("wrapping", blocks.WRAPPINGS, often=0.7),
        loss=one("loss", judging.LOSSES, target.name),
        # one list of metrics is not for two outputs
        metrics=() if target.name == "both" else some("metrics", judging.METRICS, 2, target.name),
        weighted=() if target.name == "both" else some("weighted", judging.METRICS, 1, target.name),
        optimizer=optimizer,
        step=one("step", [NONE, *training.STEPS], source.name, often=0.4),
        weighting=one("weighting", feeding.WEIGHTINGS, target.name, often=0.5),
        feed=feed,
        validation=one("validation", feeding.VALIDATIONS, feed.name, often=0.4),
        option=one("option", feeding.OPTIONS, often=0.6),
        beginning=one("beginning", feeding.BEGINNINGS, often=0.7),
        callbacks=some("callbacks", training.CALLBACKS, 2, rate),
        after=some("after", feeding.AFTERWARDS, 1),
    )


def write(recipe: Recipe) -> str:
    """Write a program that stands for itself."""
    defined = dict.fromkeys(
        part.define
        for part in (*recipe.blocks, recipe.wrapping, recipe.loss, *recipe.metrics, *recipe.weighted, recipe.optimizer)
        if part.define
    )
    weights = "W" if recipe.weighting.define else ""
    lines = [
        "import tempfile",
        "import keras",
        "import numpy as np",
        "import tensorflow as tf",
        "from keras import layers, ops",
        'keras.config.set_floatx("float64")',
        "keras.utils.set_random_seed(7)",
        "rng = np.random.default_rng(7)",
        f"ROWS, BATCH = {recipe.rows}, {recipe.batch}",
        recipe.source.define,
        *defined,
        recipe.step.define,
        *(part.define for part in recipe.callbacks),
        recipe.source.use,
        *(part.use for part in recipe.blocks),
        recipe.bridge.use,
        recipe.target.define,
        recipe.target.use,
        recipe.weighting.define,
        f"GIVEN = (X, Y{', W' if weights else ''})",
        f"model = {recipe.step.use or 'keras.Model(inputs, outputs)'}",
        recipe.wrapping.use if not recipe.step.use else "",
        _compile(recipe),
        recipe.feed.define,
        _fit(recipe, weights),
        *(part.use for part in recipe.after),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _compile(recipe: Recipe) -> str:
    arguments = [recipe.optimizer.use, recipe.loss.use]
    for name, parts in (("metrics", recipe.metrics), ("weighted_metrics", recipe.weighted)):
        if parts:
            arguments.append(f"{name}=[{', '.join(part.use for part in parts)}]")
    return f"model.compile({', '.join(a for a in (*arguments, recipe.option.use) if a)})"


def _fit(recipe: Recipe, weights: str) -> str:
    first = 1 if recipe.beginning.use else 0
    arguments = [
        recipe.feed.use,
        "sample_weight=W" if weights and recipe.feed.use.startswith("X") else "",
        f"epochs={recipe.epochs + first}",
        recipe.beginning.use,
        recipe.weighting.use,
        recipe.validation.use,
        f"callbacks=[{', '.join(part.use for part in recipe.callbacks)}]" if recipe.callbacks else "",
        "verbose=0",
    ]
    return f"history = model.fit({', '.join(argument for argument in arguments if argument)})"


SIMPLEST = {
    "wrapping": blocks.WRAPPINGS[0],
    "optimizer": Part("SGD", "keras.optimizers.SGD(0.05)"),
    "step": NONE,
    "weighting": NONE,
    "feed": feeding.FEEDS[1],
    "validation": NONE,
    "option": NONE,
    "beginning": NONE,
}


def simpler(recipe: Recipe) -> Iterator[Recipe]:
    """Return programs with one thing less, the largest things first."""
    for name in ("callbacks", "after", "weighted", "metrics", "blocks"):
        parts = getattr(recipe, name)
        if len(parts) > 1:
            yield replace(recipe, **{name: ()})
        for index in range(len(parts)):
            yield replace(recipe, **{name: (*parts[:index], *parts[index + 1 :])})
    for name, part in SIMPLEST.items():
        if getattr(recipe, name) != part:
            yield replace(recipe, **{name: part})
    simple_loss = {
        "both": recipe.loss.use.strip('"'),
        "value": "mse",
        "values": "mse",
        "count": "mse",
        "binary": "binary_crossentropy",
        "onehot": "mse",
    }
    loss = simple_loss.get(recipe.target.name, "sparse_categorical_crossentropy")
    if recipe.loss.use.strip('"') != loss:
        yield replace(recipe, loss=Part(loss, f'"{loss}"'))
    if recipe.source.name != "vector" and not recipe.blocks:
        target = judging.TARGETS["value"] if recipe.target.name == "each" else recipe.target
        yield replace(recipe, source=blocks.SOURCES["vector"], bridge=NONE, target=target)
    if recipe.epochs > 1:
        yield replace(recipe, epochs=1)
    for rows, batch in ((8, 8), (12, 8), (9, 8)):
        if recipe.rows > rows:
            yield replace(recipe, rows=rows, batch=batch)
    if recipe.world > 2:
        yield replace(recipe, world=2)
