"""A run that dies and starts again ends exactly as one that was left alone; and what stops, refuses and reports."""

import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from parity import distance, plain, ranks, weights

from hops_magic.runs.events import Checkpointed, Metrics, Progress

rng = np.random.default_rng(5)
X = rng.normal(size=(120, 12)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")


def compiled(**kwargs):
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(2),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], **kwargs)
    return model


class Dies(keras.callbacks.Callback):
    """Ends the process, as SIGKILL would, at the end of an epoch or in the middle of one."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.at = epoch, batch

    def on_epoch_end(self, epoch, logs=None):
        self.epoch_done = epoch
        if self.at == (epoch, None):
            time.sleep(0.2)  # the writer of the checkpoint before gets its turn, as it would in an epoch of real length
            os._exit(9)

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.params.get("epoch", getattr(self, "epoch_done", -1) + 1), batch):
            time.sleep(0.2)
            os._exit(9)


def two_fits(deaths):
    def body():
        model = compiled()
        first = model.fit(X, Y, batch_size=24, epochs=3, verbose=0, callbacks=deaths(1))
        stopping = keras.callbacks.EarlyStopping("loss", patience=50)
        second = model.fit(X, Y, batch_size=24, epochs=5, validation_split=0.2, verbose=0, callbacks=[stopping, *deaths(2)])
        found = weights(model)
        for name, history in (("first", first), ("second", second)):
            found |= {f"{name}.{key}": np.array(values) for key, values in history.history.items()}
        found["best"] = np.array(stopping.best)
        return found

    return body


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize(
    ("fit", "epoch", "batch"), [(1, 2, None), (2, 3, None), (2, 2, 3)], ids=["first fit", "second fit", "inside an epoch"]
)
def test_a_restarted_run_ends_as_an_undisturbed_one(world, fit, epoch, batch, tmp_path):
    undisturbed = ranks(two_fits(lambda number: []), world)[0].result
    often = {"checkpoint_s": 0.001} if batch else {}
    died = ranks(
        two_fits(lambda number: [Dies(epoch, batch)] if number == fit else []),
        world,
        folder=tmp_path,
        may_fail=True,
        **often,
    )
    assert all(ended.error == "the process left nothing" for ended in died)
    restarted = ranks(two_fits(lambda number: []), world, attempt=1, folder=tmp_path, **often)
    for ended in restarted:
        exact = {name: value for name, value in undisturbed.items() if name[0] in "wo"}
        assert distance(exact, {name: ended.result[name] for name in exact}) == 0.0
        # what ranks had counted in the broken epoch is added up in another order
        assert distance(undisturbed, ended.result) <= (1e-6 if batch else 0.0)
    # what was done before is not done again
    epochs = [event.step for event in restarted[0].events if isinstance(event, Metrics) and event.scope == "epoch"]
    assert len(epochs) < 8


def test_a_checkpoint_of_another_model_is_not_used(tmp_path):
    def first():
        compiled().fit(X, Y, batch_size=24, epochs=2, verbose=0)
        return {}

    def other():
        model = keras.Sequential([keras.Input((12,)), layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return {"epochs": len(model.fit(X, Y, epochs=3, verbose=0).epoch)}

    ranks(first, folder=tmp_path)
    again = ranks(other, attempt=1, folder=tmp_path)
    assert again[0].result == {"epochs": 3}
    assert any("another model" in getattr(event, "message", "") for event in again[0].events)


def test_a_stop_ends_the_fit_at_the_same_step_on_all_ranks_and_the_cell_goes_on(tmp_path):
    flag = tmp_path / "stop"

    class Raises(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == 7:
                flag.touch()

    def body():
        model = compiled()
        history = model.fit(X, Y, batch_size=24, epochs=200, verbose=0, callbacks=[Raises()])
        return {"steps": int(model.optimizer.iterations.numpy()), "epochs": len(history.epoch)}

    ended = ranks(body, 2, stop_requested=flag.exists)
    assert ended[0].result == ended[1].result
    assert 7 <= ended[0].result["steps"] <= 20


def test_a_callback_that_stops_one_rank_stops_all():
    class StopsRankOne(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            import hops_magic as hops

            if hops.rank == 1 and self.model.optimizer.iterations.numpy() == 8:
                self.model.stop_training = True

    def body():
        model = compiled()
        model.fit(X, Y, batch_size=24, epochs=50, verbose=0, callbacks=[StopsRankOne()])
        return {"steps": int(model.optimizer.iterations.numpy())}

    assert [ended.result for ended in ranks(body, 2)] == [{"steps": 8}, {"steps": 8}]


def test_files_are_written_once_by_the_chief(tmp_path):
    def body():
        model = compiled()
        callbacks = [
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ]
        model.fit(X, Y, batch_size=24, epochs=3, verbose=0, callbacks=callbacks)
        loaded = keras.saving.load_model(tmp_path / "best.keras")  # on every rank: the chief has written it by now
        return {"weights": len(loaded.get_weights())}

    assert [ended.result["weights"] for ended in ranks(body, 2)] == [8, 8]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_progress_and_global_metrics_are_told():
    def body():
        history = compiled().fit(X, Y, batch_size=24, epochs=3, validation_split=0.2, verbose=0)
        return {key: list(values) for key, values in history.history.items()}

    chief, other = ranks(body, 2)
    assert chief.result == other.result
    told = [event for event in chief.events if isinstance(event, Metrics) and event.scope == "epoch"]
    assert [event.step for event in told] == [1, 2, 3]
    assert told[-1].values["val_loss"] == pytest.approx(chief.result["val_loss"][-1])
    assert not [event for event in other.events if isinstance(event, Metrics)]
    for ended in (chief, other):
        last = [event for event in ended.events if isinstance(event, Progress) and event.phase == "fit"][-1]
        assert (last.epoch, last.epochs) == (3, 3)
    assert [event.epoch for event in chief.events if isinstance(event, Checkpointed)][-1] == 3


def test_batch_per_rank_multiplies_the_batch():
    def alone():
        model = compiled()
        model.fit(X, Y, batch_size=48, epochs=2, verbose=0)
        return {"steps": int(model.optimizer.iterations.numpy())}

    def together():
        model = compiled()
        model.fit(X, Y, batch_size=24, epochs=2, verbose=0)
        return {"steps": int(model.optimizer.iterations.numpy())}

    assert ranks(together, 2, batch="per-rank")[0].result == plain(alone)


def test_batches_that_come_ready_made_are_not_multiplied_without_a_word():
    def body():
        compiled().fit(tf.data.Dataset.from_tensor_slices((X, Y)).batch(10), verbose=0)

    for ended in ranks(body, 2, batch="per-rank", may_fail=True):
        assert "--batch per-rank: the batches of a _BatchDataset are its own; make them 2 times as large" in ended.error


def test_batch_per_rank_counts_for_data_without_targets_too():
    def steps(batch_size):
        class Own(keras.Model):
            def train_step(self, data):
                return {"rows": tf.cast(tf.shape(data[0])[0], tf.float32)}

        own = Own()
        own.compile("sgd")
        own.build((None, 12))
        seen = []
        spy = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
        own.fit(X[:40], batch_size=batch_size, callbacks=[spy], verbose=0)
        return {"steps": len(seen)}

    assert ranks(lambda: steps(5), 2, batch="per-rank")[0].result == plain(lambda: steps(10))


def test_dropout_masks_differ_between_ranks_and_repeat_from_run_to_run():
    def body():
        import tensorflow as tf

        masks = []

        class Watched(layers.Dropout):
            def call(self, x, training=False):
                out = super().call(x, training=training)
                tf.numpy_function(lambda values: masks.append(values > 0), [out], [])
                return out

        model = keras.Sequential([keras.Input((64,)), Watched(0.5), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 64), "float32"), np.ones((8, 1), "float32"), batch_size=8, verbose=0)
        return {"mask": masks[-1]}

    first, again = ranks(body, 2), ranks(body, 2)
    masks = [ended.result["mask"] for ended in first]
    assert masks[0].shape == masks[1].shape == (4, 64)
    assert 0.3 < (masks[0] != masks[1]).mean() < 0.7
    for ended, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(ended.result["mask"], same.result["mask"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: compiled(jit_compile=True), "XLA"),
        (lambda: compiled(run_eagerly=True), "run_eagerly"),
    ],
)
def test_what_cannot_be_true_is_refused_with_a_sentence(make, words):
    def body():
        make().fit(X, Y, verbose=0)
        return {}

    for ended in ranks(body, 2, may_fail=True):
        assert "UnsupportedError" in ended.error
        assert words in ended.error


def test_parameter_server_is_refused_with_what_to_do_instead():
    def body():
        compiled().fit(X, Y, verbose=0)
        return {}

    for ended in ranks(body, 2, strategy="parameter-server", may_fail=True):
        assert "use --strategy collective" in ended.error


def test_mirrored_devices_inside_one_rank_equal_one_process():
    def body():
        model = keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="relu"), layers.Dense(2)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(X, Y, batch_size=24, epochs=4, verbose=0)
        return {f"w{i}": w for i, w in enumerate(model.get_weights())}

    def on_two_devices():
        import tensorflow as tf

        assert tf.distribute.get_strategy().num_replicas_in_sync == 2
        return body()

    import tensorflow as tf

    def split():
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    mirrored = ranks(on_two_devices, 1, strategy="mirrored", before=split)[0].result
    assert distance(plain(body), mirrored) < 1e-5
