"""Studies whose trials fit real Keras models: what is found in the history, stopped, kept, registered and begun again."""

import os
import signal

import numpy as np
import pytest
from studying import until

from hops_magic.runs.states import RunState, TrialState
from hops_magic.tuning.space import grid

pytestmark = pytest.mark.usefixtures("nothing_is_left")

FIT = """
import pathlib, time
import keras
import hops_magic as hops

class Epochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if hops.rank == 0:
            with pathlib.Path(log).open("a") as file:
                file.write(f"{epoch + 1} ")
        time.sleep(pause)

keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="only")])
model.compile(keras.optimizers.SGD(rate), "mse")
model.fit(x, y, validation_split=0.25, batch_size=16, epochs=epochs, verbose=0, callbacks=[Epochs()])
"""
X = np.random.default_rng(3).normal(size=(64, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], dtype="float32")


@pytest.fixture
def notebook(tmp_path):
    return {"x": X, "y": Y, "epochs": 8, "pause": 0.1, "log": str(tmp_path / "epochs")}


def test_fits_are_followed_stopped_kept_and_registered(tune, session, notebook):
    study = tune(
        FIT,
        {"rate": grid([0.1, 0.2, 1e-7])},
        notebook,
        minimize="val_loss",
        framework="keras",
        trials=3,
        search="grid",
        parallel=1,
        stop="asha",
        reduction=2,
        max_steps=8,
        register="tuned-model",
        keep_model=True,
    )
    hopeless = study.summary.trials[2]
    assert hopeless.state is TrialState.STOPPED
    assert "asha: number 3 of 3 trials" in study.why(2)
    assert hopeless.step < 8
    assert list(study.curve(0)) == list(range(1, 9))
    assert study.curve(0)[8] == study.summary.trials[0].value
    assert {"loss", "val_loss"} <= set(study.summary.metric_names)
    assert study.summary.step_name == "epoch"
    # what the fits were called with is recorded of every trial
    for trial in session.registry.children(study.run_id):
        assert (trial.params["epochs"], trial.params["batch_size"], trial.params["optimizer"]) == ("8", "16", "SGD")
        assert float(trial.params["optimizer.learning_rate"]) == pytest.approx(float(trial.params["rate"]))
    # the model in the notebook is the best trial's, and can be used
    held_out = float(np.mean((notebook["model"].predict(X[48:], verbose=0) - Y[48:]) ** 2))
    assert held_out == pytest.approx(study.best_value, rel=1e-3)
    (version,) = session.registry.versions("tuned-model")
    loaded = session.registry.load(version.name, loader=session.load_model)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), notebook["model"].predict(X, verbose=0), rtol=1e-5)


def test_a_killed_trial_of_two_ranks_goes_on_from_its_checkpoint(begin, session, notebook, tmp_path):
    handle = begin(
        FIT,
        {"rate": grid([0.1])},
        {**notebook, "pause": 0.3},
        minimize="val_loss",
        framework="keras",
        trials=1,
        search="grid",
        workers_per_trial=2,
    )
    until(handle, lambda study: study.trials and study.trials[0].step >= 3)
    os.kill(handle.trial(0).ranks[1].pid, signal.SIGKILL)
    study = session.watch_study(handle, {}, show=False)
    trial = study.summary.trials[0]
    assert (trial.state, trial.attempt) == (TrialState.DONE, 1)
    assert list(study.curve(0)) == list(range(1, 9))
    ran = [int(text) for text in (tmp_path / "epochs").read_text().split()]
    assert set(ran) == set(range(1, 9))
    assert len(ran) <= 9  # one epoch at most was trained twice


def test_a_study_that_is_stopped_says_how_to_register_what_it_kept(begin, session, notebook):
    handle = begin(
        FIT,
        {"rate": grid([0.1, 1e-3])},
        {**notebook, "epochs": 2},
        minimize="val_loss",
        framework="keras",
        trials=2,
        search="grid",
        parallel=1,
        register="by-hand",
        name="cut short",
    )
    until(handle, lambda study: len(study.ended()) == 1)
    handle.stop()
    study = session.watch_study(handle, {}, show=False)
    assert study.state is RunState.STOPPED
    assert any("%models register by-hand --run cut short does it" in warning for warning in study.summary.warnings)
    assert session.registry.register(session.registry.run("cut short").run_id, "by-hand").version == 1
