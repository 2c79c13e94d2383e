"""What a cell of several ranks writes through Keras and TensorFlow: once, whole, and there for all in the next line."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import ranks

import hops_magic as hops


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(width=4):
    return keras.Sequential([keras.Input((width,)), layers.Dense(300), layers.Dense(1)])


class Tagged(keras.Model):
    """Says in its file which rank wrote it."""

    def __init__(self, tag=None, **kwargs):
        super().__init__(**kwargs)
        self.tag, self.dense = hops.rank if tag is None else tag, layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {"tag": self.tag}


def body_writers():
    model, x = built(), np.ones((2, 4), "float32")
    want, read = model.get_weights(), []
    for name in ("m.keras", "m.h5"):
        for _ in range(3):  # written over while others may still read: each finds a whole one
            model.save(name)
            read.append(keras.models.load_model(name).get_weights())
    keras.saving.save_model(model, Path("path.keras"))
    read.append(keras.models.load_model("path.keras").get_weights())
    model.save_weights("m.weights.h5")
    model.load_weights("m.weights.h5")
    model.save_weights("shards.weights.json", max_shard_size=1e-5)
    model.load_weights("shards.weights.json")
    read.append(model.get_weights())
    model.export("exported", verbose=False)
    exported = tf.saved_model.load("exported")  # TensorFlow forgets the variables of one that nobody holds
    served = np.abs(exported.serve(x).numpy() - model(x).numpy()).max()
    module = tf.Module()
    module.v = tf.Variable(3.0)
    for _ in range(2):  # the second time into a folder that is there
        tf.saved_model.save(module, "module")
        assert float(tf.saved_model.load("module").v) == 3.0
    alike = all(np.array_equal(a, b) for got in read for a, b in zip(got, want, strict=True))
    return {"alike": alike, "served": served}


@pytest.mark.parametrize("world", [2, 3])
def test_each_rank_reads_in_the_next_line_what_was_written(folder, world):
    ended = ranks(body_writers, world)
    assert all(each.result["alike"] and each.result["served"] < 1e-6 for each in ended)
    assert zipfile.ZipFile("m.keras").testzip() is None
    assert not list(folder.glob(".draft*"))


def test_the_first_rank_writes_and_only_it(folder):
    def body():
        model = Tagged()
        model(np.ones((1, 4), "float32"))
        made = []
        real = keras.src.saving.saving_lib._save_model_to_fileobj
        keras.src.saving.saving_lib._save_model_to_fileobj = lambda *args: made.append(1) or real(*args)
        try:
            for number in range(3):
                model.save(f"tagged{number}.keras")
        finally:
            keras.src.saving.saving_lib._save_model_to_fileobj = real
        loaded = keras.models.load_model("tagged2.keras", custom_objects={"Tagged": Tagged})
        return {"tag": loaded.tag, "made": len(made)}

    ended = ranks(body, 3)
    assert [each.result for each in ended] == [{"tag": 0, "made": 3}, {"tag": 0, "made": 0}, {"tag": 0, "made": 0}]


def test_one_rank_alone_may_write(folder):
    def body():
        model = built()
        if hops.rank == 0:
            for number in range(3):
                model.save(f"guarded{number}.keras")
        if hops.rank == 1:
            model.save("second.keras")
        model.save(f"own{hops.rank}.keras")
        return {"there": Path(f"own{hops.rank}.keras").exists()}

    assert all(each.result["there"] for each in ranks(body, 2))
    for name in ("guarded2", "second", "own0", "own1"):
        assert zipfile.ZipFile(f"{name}.keras").testzip() is None


def test_checkpoints_and_their_keepers_count_alike(folder):
    def body():
        value = tf.Variable(0.0)
        checkpoint = tf.train.Checkpoint(value=value)
        manager = tf.train.CheckpointManager(checkpoint, "kept", max_to_keep=2)
        latest = []
        for number in range(4):
            value.assign(number)
            manager.save()
            latest.append(Path(tf.train.latest_checkpoint("kept")).name)
            assert manager.latest_checkpoint == tf.train.latest_checkpoint("kept")
            checkpoint.restore(manager.latest_checkpoint).assert_consumed()
            hops.barrier()  # a rank that is ahead would keep the next one already
        single = checkpoint.save("single/c")
        written = checkpoint.write("plain/w")
        tf.train.Checkpoint(value=value).read(written)
        kept = [Path(each).name for each in manager.checkpoints]
        return {
            "latest": latest,
            "kept": kept,
            "value": float(value),
            "single": single,
            "counter": int(checkpoint.save_counter),
        }

    first, *others = ranks(body, 3)
    assert first.result["kept"] == ["ckpt-3", "ckpt-4"]
    assert first.result["latest"] == ["ckpt-1", "ckpt-2", "ckpt-3", "ckpt-4"]
    assert all(each.result == first.result for each in others)
    assert sorted(each.name for each in Path("kept").glob("*.index")) == ["ckpt-3.index", "ckpt-4.index"]


def test_an_error_of_the_writer_is_raised_on_all_ranks(folder):
    def body():
        said = []
        for name in ("nowhere/m.keras", "m.unknown"):
            try:
                built().save(name)
            except (OSError, ValueError) as error:
                said.append(f"{type(error).__name__} {error}")
        built().save("good.keras")
        return {"said": said}

    first, second = ranks(body, 2)
    assert first.result["said"] == second.result["said"]
    assert len(first.result["said"]) == 2
    assert "nowhere/m.keras" in first.result["said"][0]


def test_not_overwriting_is_about_what_was_there_before(folder):
    def body():
        built().save("new.keras", overwrite=False)
        return {"weights": len(keras.models.load_model("new.keras").get_weights())}

    assert all(each.result["weights"] == 4 for each in ranks(body, 2))
