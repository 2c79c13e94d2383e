"""``%%distributed`` as a user types it, in a real kernel on the embedded cluster."""

import re

import pytest
from kernels import Kernel

DATA = """
import keras
import numpy as np
from sklearn.datasets import load_digits
images, labels = load_digits(return_X_y=True)
x_train, y_train = (images / 16).astype("float32"), labels
"""

CELL = """%%distributed -n 2 --seed 3 --name digits
model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, epochs=5, batch_size=128, validation_split=0.1)
"""


@pytest.fixture(scope="module")
def trained(kernel):
    assert not kernel.run(DATA).error
    executed = kernel.run(CELL)
    assert not executed.error, executed.error
    return executed


def test_model_and_history_are_in_the_notebook(kernel, trained):
    assert kernel.ask("type(model).__name__") == "'Sequential'"
    assert kernel.ask("sorted(history.history)") == "['accuracy', 'loss', 'val_accuracy', 'val_loss']"
    assert kernel.ask("history.model is model") == "True"
    assert kernel.ask("model.evaluate(x_train, y_train, verbose=0, return_dict=True)['accuracy'] > 0.7") == "True"


def test_the_model_goes_on_training_in_the_notebook_where_it_was(kernel, trained):
    assert kernel.ask("int(model.optimizer.iterations.numpy())") == str(5 * 13)
    kernel.run("_ = model.fit(x_train[:128], y_train[:128], batch_size=128, verbose=0)")
    assert kernel.ask("int(model.optimizer.iterations.numpy())") == str(5 * 13 + 1)


def test_progress_is_shown_while_the_cell_runs(trained):
    assert re.search(r"5/5", trained.text)
    assert "loss" in trained.text


def test_a_model_of_the_notebook_that_a_cell_trains_is_the_same_object_afterwards(kernel, trained):
    kernel.run("before, alias = model.get_weights()[0].copy(), model")
    executed = kernel.run("%%distributed -n 2\nmore = model.fit(x_train, y_train, epochs=1, batch_size=128)")
    assert not executed.error, executed.error
    assert kernel.ask("(alias is model, bool(np.abs(before - model.get_weights()[0]).max() > 0))") == "(True, True)"


def test_the_run_is_recorded(kernel, trained):
    listed = kernel.run("%experiments")
    assert "digits" in listed.all
    shown = kernel.run("%experiments show digits").all
    for fact in ("x_train", "val_loss", "seed"):
        assert fact in shown


def test_a_dry_run_shows_what_would_travel_and_starts_nothing(kernel, trained):
    before = kernel.ask("len(hops.experiments.runs())")
    executed = kernel.run("%%distributed --dry-run\nmodel.predict(x_train)")
    assert "x_train" in executed.all
    assert "float32" in executed.all
    assert kernel.ask("len(hops.experiments.runs())") == before


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("%%distributed --nonsense 3\n1", "--nonsense"),
        ("%%distributed -n 0\n1", "--workers must be at least 1, got 0"),
        ("%%distributed -n 99 --framework none\n1", r"--workers must be at most 2 .* got 99.*%cluster scale 99"),
        ("%%distributed\nx = (\n", "line 2"),
        ("%%distributed\nundefined_name + 1", "undefined_name"),
        ("%%distributed --strategy mirrored\n1", "mirrored"),
        ("%%distributed --strategy parameter-server\nimport keras", "--strategy collective trains"),
        ("%%distributed -n 1 --gpus-per-rank 2\nimport keras", "--gpus-per-rank must be 0 on a cluster without GPUs, got 2"),
        ("%%distributed -n 2 --gpus-per-rank 2\nimport keras", "-n 4 with one GPU per rank trains the same"),
        ("handle = open('/tmp/hops-test-file', 'w')", None),
        ("%%distributed\nhandle.write('x')", "handle.*open file"),
        (
            "%%distributed --framework none --batch per-rank\n1",
            "--batch does nothing where the body is plain Python, got per-rank",
        ),
        ("%attach --nothing", "%attach has no option --nothing"),
        ("%attach no-such-run", "no run on the cluster answers to 'no-such-run'"),
        ("%%distributed", "%%distributed needs a body: write the code below the first line"),
        ("%%distributed -n 2\n\n  \n", "%%distributed needs a body"),
        ("%%tune lr=uniform(0, 1)", "%%tune needs a body"),
        ("%%ablate --flags a", "%%ablate needs a body"),
    ],
)
def test_bad_input_gets_one_sentence(kernel, cell, sentence):
    executed = kernel.run(cell)
    if sentence is None:
        assert not executed.error
        return
    assert re.search(sentence, executed.error, re.DOTALL), executed.error
    assert "Traceback" not in executed.error


@pytest.mark.parametrize("magic", ["distributed", "hops_distributed", "tune", "ablate"])
def test_help_needs_no_body(kernel, magic):
    executed = kernel.run(f"%%{magic} -h")
    assert not executed.error, executed.error
    assert "--name" in executed.all


def test_a_value_that_cannot_be_rebuilt_on_a_rank_is_one_sentence(kernel):
    kernel.run("class Odd:\n    def __reduce__(self): return (int, ('no number',))\nodd = Odd()")
    executed = kernel.run("%%distributed -n 2 --framework none\nprint(odd)")
    assert "odd cannot be rebuilt on the rank, ValueError" in executed.error
    assert "hops_magic/" not in executed.error
    assert "File " not in executed.error


def test_an_error_of_the_cell_is_shown_once_with_the_cells_line(kernel):
    executed = kernel.run("%%distributed -n 2 --framework none\nx = 1\n\nraise ValueError('my message')")
    assert executed.error.count("my message") <= 2
    assert executed.error.count("Traceback") == 1
    assert "line 4" in executed.error
    assert "ranks 0-1" in executed.error
    assert "hops_magic/" not in executed.error


def test_what_cannot_come_back_is_named_and_the_rest_comes(kernel):
    executed = kernel.run("%%distributed -n 1 --framework none\nimport threading\nlock = threading.Lock()\nnumber = 5")
    assert not executed.error, executed.error
    assert "lock" in executed.text
    assert kernel.ask("number") == "5"


def test_the_last_expression_is_the_cells_value(kernel):
    executed = kernel.run("%%distributed -n 2 --framework none\nimport hops_magic as hops\nhops.world_size * 21")
    assert [data["text/plain"] for data in executed.shown][-1] == "42"


def test_an_interrupt_ends_the_run_and_the_cell(kernel):
    message = kernel.send("%%distributed -n 2 --framework none\nimport time\nprint('started')\nwhile True: time.sleep(0.1)")
    kernel.result(message, until=lambda executed: "started" in executed.text)
    kernel.manager.interrupt_kernel()
    executed = kernel.result(message)
    assert "interrupted" in executed.error
    assert kernel.ask("[run.is_final for run in hops.live_runs()][0]") == "True"


def test_a_kernel_restart_does_not_end_a_run_and_attach_brings_its_values(kernel):
    cell = """%%distributed -n 1 --framework none --detach --name survivor
import pathlib, time
go = pathlib.Path("go")
while not go.exists(): time.sleep(0.05)
answer = 42
"""
    detached = kernel.run(cell)
    assert "survivor" in detached.text
    kernel.restart()
    kernel.run("%load_ext hops_magic\nimport hops_magic as hops")
    assert "survivor" in kernel.run("%attach").all
    kernel.run("import pathlib; pathlib.Path('go').touch()")
    attached = kernel.run("%attach survivor")
    assert not attached.error, attached.error
    assert kernel.ask("answer") == "42"


def test_a_run_that_is_followed_goes_on_when_its_kernel_is_restarted(kernel):
    cell = """%%distributed -n 1 --framework none --name followed
import pathlib, time
print("started")
while not pathlib.Path("followed-may-end").exists(): time.sleep(0.05)
brought = 43
"""
    kernel.result(kernel.send(cell), until=lambda executed: "started" in executed.text)
    kernel.restart(now=False)
    kernel.run("%load_ext hops_magic\nimport hops_magic as hops")
    assert kernel.ask("[run.state.value for run in hops.live_runs() if run.name == 'followed']") == "['running']"
    kernel.run("import pathlib; pathlib.Path('followed-may-end').touch()")
    attached = kernel.run("%attach followed")
    assert not attached.error, attached.error
    assert kernel.ask("brought") == "43"


def test_a_registered_model_is_loaded_by_its_name(kernel):
    kernel.run(DATA)
    executed = kernel.run(CELL.replace("--name digits", "--name kept --register digit-reader"))
    assert not executed.error, executed.error
    assert "digit-reader" in kernel.run("%models").all
    loaded = kernel.run("%models load digit-reader --as loaded")
    assert not loaded.error, loaded.error
    assert kernel.ask("bool(np.allclose(loaded.predict(x_train, verbose=0), model.predict(x_train, verbose=0)))") == "True"


def test_a_detached_keras_model_comes_with_attach(kernel):
    kernel.run(DATA)
    executed = kernel.run(CELL.replace("--name digits", "--name later --detach").replace("model", "late_model"))
    assert "later" in executed.text
    attached = kernel.run("%attach later")
    assert not attached.error, attached.error
    assert kernel.ask("int(late_model.optimizer.iterations.numpy())") == str(5 * 13)
    assert kernel.ask("len(history.history['val_loss'])") == "5"


def test_loading_twice_changes_nothing(kernel):
    executed = kernel.run("%load_ext hops_magic\n%reload_ext hops_magic")
    assert not executed.error
    assert kernel.run("%%distributed -n 1 --framework none\nx = 1").error == ""
    assert "RUN is an id" in kernel.run("%attach -h").all
    # the kernel leaves the GPU to the ranks
    assert kernel.ask("__import__('os').environ['TF_FORCE_GPU_ALLOW_GROWTH']") == "'true'"


def test_beside_another_owner_of_the_name_we_say_so_and_keep_working(env, places):
    other = Kernel(env, places["work"])
    try:
        other.run(
            "from IPython.core.magic import register_cell_magic\n"
            "@register_cell_magic\ndef distributed(line, cell): print('theirs')"
        )
        loaded = other.run("%load_ext hops_magic")
        assert "%%hops_distributed" in loaded.text
        assert "theirs" in other.run("%%distributed\n1").text
        assert "usage: %%distributed" in other.run("%%hops_distributed -h\n1").text
    finally:
        other.close()


def test_a_run_whose_cluster_is_gone_does_not_stay_live_in_the_record(env, places):
    other = Kernel({**env, "HOPS_HOME": str(places["home"] / "other")}, places["work"])
    try:
        other.run("%load_ext hops_magic")
        other.run("%%distributed -n 1 --framework none --detach --name doomed\nimport time\ntime.sleep(1000)")
        other.run("import time, hops_magic as hops\nwhile not hops.experiments.runs(): time.sleep(0.1)")
        assert "doomed" in other.run("%attach").all
        other.run("import os, psutil\nfrom hops_magic.session import session")
        killed = other.run("psutil.Process(session().clusters.current().client.run_on_scheduler(os.getpid)).kill()")
        assert not killed.error, killed.error
        other.restart()
        other.run("%load_ext hops_magic")
        listed = other.run("%experiments").all
        assert "doomed" in listed
        assert "failed" in listed
    finally:
        other.run("%cluster stop --force")
        other.close()


def test_a_registry_that_cannot_be_written_is_one_sentence_and_the_cell_does_not_run(env, places, tmp_path):
    (tmp_path / "file").touch()
    mine = {"HOPS_HOME": str(places["home"] / "unrecorded"), "HOPS_TRACKING_URI": f"sqlite:///{tmp_path}/file/runs.db"}
    other = Kernel({**env, **mine}, places["work"])
    try:
        other.run("%load_ext hops_magic")
        executed = other.run("%%distributed -n 1 --framework none\nimport pathlib\npathlib.Path('it-ran').touch()")
        assert re.search("file cannot be written .*: make it writable, or set HOPS_TRACKING_URI", executed.error)
        assert len(executed.error.splitlines()) == 1
        assert not (places["work"] / "it-ran").exists()
    finally:
        other.run("%cluster stop --force")
        other.close()


OWN_PARTS = """
@keras.saving.register_keras_serializable("own")
class Squash(keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.inner = keras.layers.Dense(units)
    def call(self, values):
        return keras.ops.tanh(self.inner(values))
class Coder(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
    def call(self, values):
        return self.decoder(self.encoder(values))
def apart(a, b):
    return keras.ops.mean(keras.ops.square(a - b), axis=-1)
some = x_train[:256]
encoder = keras.Sequential([keras.Input((64,)), Squash(3), keras.layers.Lambda(lambda values: keras.ops.sin(values))])
coder = Coder(encoder, keras.Sequential([keras.layers.Dense(64)]))
coder.compile("adam", apart)
"""


def test_a_model_of_the_notebooks_own_classes_goes_in_and_comes_back_again_and_again(kernel):
    kernel.run("import keras\n" + DATA)
    assert not kernel.run(OWN_PARTS).error
    cell = """%%distributed -n 2
fitted = coder.fit(some, some, epochs=2, batch_size=64)
shared = bool((encoder.get_weights()[0] == coder.encoder.get_weights()[0]).all())
"""
    for steps in (8, 16):
        executed = kernel.run(cell)
        assert not executed.error, executed.error
        assert "stayed on the cluster" not in executed.text
        assert (
            kernel.ask("(int(coder.optimizer.iterations.numpy()), fitted.model is coder, shared)")
            == f"({steps}, True, True)"
        )
    assert kernel.ask("coder.encoder is encoder") == "True"
    assert not kernel.run("_ = coder.fit(some, some, verbose=0)").error


def test_a_symbolic_tensor_is_refused_with_a_sentence(kernel):
    kernel.run("import keras\nplace = keras.Input((3,))")
    executed = kernel.run("%%distributed -n 2\nkeras.Model(place, keras.layers.Dense(1)(place))")
    assert "symbolic tensor" in executed.error
    assert "Traceback" not in executed.error


def test_a_traceback_has_the_number_that_the_notebook_gives_the_cell(kernel):
    kernel.run("from IPython import get_ipython")
    executed = kernel.run("%%distributed -n 1 --framework none\nraise ValueError('here')")
    number = int(kernel.ask("len(get_ipython().history_manager.input_hist_raw)")) - 2
    assert f"Cell In[{number}], line 2" in executed.error
