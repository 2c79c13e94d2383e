"""Callbacks of the user's on several ranks: they do what they do in one process, or are named."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from parity import distance, plain, ranks

import hops_magic as hops

rng = np.random.default_rng(3)
X = rng.normal(size=(50, 6)).astype("float32")
Y = X[:, :1] * 2
CLASSES = keras.utils.to_categorical(np.arange(50) % 3, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def built(outputs=1, **kwargs):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(outputs)])
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | kwargs))
    return model


def case_checkpoint_that_evaluates():
    class Judging(keras.callbacks.ModelCheckpoint):
        found = ()

        def on_epoch_end(self, epoch, logs=None):
            self.found += (self.model.evaluate(X[:31], Y[:31], verbose=0),)
            super().on_epoch_end(epoch, logs)

    model, judge = built(), Judging("best.keras")
    model.fit(X, Y, batch_size=16, epochs=3, callbacks=[judge], verbose=0)
    saved = keras.models.load_model("best.keras").get_weights()
    return {"found": np.array(judge.found), **{f"w{i}": w for i, w in enumerate(saved)}}


def case_checkpoint_that_saves_after_batches():
    class Counting(keras.callbacks.ModelCheckpoint):
        seen = 0.0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += logs["loss"]
            super().on_train_batch_end(batch, logs)

    model, counting = built(), Counting("b{batch}.keras", save_freq=2)
    model.fit(X, Y, batch_size=16, epochs=2, callbacks=[counting], verbose=0)
    return {"seen": np.array(counting.seen), "files": np.array(len(list(Path().glob("b*.keras"))))}


def case_log_with_a_column_of_ones_own():
    class Logging(keras.callbacks.CSVLogger):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, {**logs, "half": self.model.evaluate(X[:20], Y[:20], verbose=0)})

    built().fit(X, Y, batch_size=16, epochs=3, callbacks=[Logging("log.csv")], verbose=0)
    return {}


def case_metric_with_a_value_for_each_class():
    class Looks(keras.callbacks.Callback):
        seen = ()

        def on_train_batch_end(self, batch, logs=None):
            self.seen += (np.asarray(logs["f1_score"]),)

    model = built(3, loss=keras.losses.CategoricalCrossentropy(from_logits=True), metrics=[keras.metrics.F1Score()])
    looks, early = Looks(), keras.callbacks.EarlyStopping("loss", patience=1)
    history = model.fit(X, CLASSES, batch_size=16, epochs=2, callbacks=[looks, early], verbose=0).history
    return {"seen": np.array(looks.seen), "f1": np.array(history["f1_score"])}


CASES = [case for name, case in list(globals().items()) if name.startswith("case_")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__[5:])
def test_as_one_process(case, tmp_path, monkeypatch):
    found = {}
    for name, run in (("one", lambda: [plain(case)]), ("two", lambda: [each.result for each in ranks(case, 2)])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found[name] = run()
    for each in found["two"]:
        assert distance(found["one"][0], each) < 1e-4
    assert sorted(path.name for path in Path().iterdir()) == sorted(path.name for path in Path("../one").iterdir())
    for log in Path().glob("*.csv"):
        one, two = (np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2)) for path in (Path("../one") / log, log))
        np.testing.assert_allclose(two, one, rtol=1e-4)


def test_an_evaluation_by_one_rank_alone_is_named():
    class Guarded(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if hops.rank == 0:
                self.model.evaluate(X, Y, verbose=0)

    def body():
        built().fit(X, Y, epochs=2, callbacks=[Guarded()], verbose=0)

    errors = [each.error for each in ranks(body, 2, may_fail=True)]
    assert any("UnsupportedError: some ranks call evaluate in Guarded.on_epoch_end and others do not" in e for e in errors)
    assert not any("outside of conditions on hops.rank" in error for error in errors), "the program's text is not known here"
