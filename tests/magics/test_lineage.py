"""From features to a registered model and back, in a real kernel, cell by cell."""

import re

import pytest

SAVE = """
import pandas as pd
rows = pd.DataFrame({"town_id": range(64), "rain": [n % 7 for n in range(64)], "sun": [n % 5 for n in range(64)]})
%features save rows --group towns --key town_id --no-stats
"""

READ = "%features get towns.rain towns.sun --as df --out table"

ARRAYS = """
wet = table[["rain"]].to_numpy("float32")
bright = table["sun"].to_numpy("float32")
"""

TRAIN = """%%distributed -n 1 --seed 3 --name NAME --register MODEL
import keras
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
history = model.fit(wet, bright, epochs=1, batch_size=32, verbose=0)
"""

CREATE = "%features dataset create climate towns.rain towns.sun --label sun --split train=.75,test=.25 --seed 7"

READ_DATASET = "%features dataset read climate --split train --as df --out table"


def train(kernel, name, model):
    return TRAIN.replace("NAME", name).replace("MODEL", model)


@pytest.fixture(scope="module")
def trained(kernel):
    """Two models: one from a group, one from a training dataset of it."""
    cells = (
        SAVE,
        READ,
        ARRAYS,
        train(kernel, "from-group", "sunny"),
        CREATE,
        READ_DATASET,
        ARRAYS,
        train(kernel, "from-dataset", "sunnier"),
    )
    for cell in cells:
        executed = kernel.run(cell)
        assert not executed.error, executed.error
    return kernel


def said(kernel, line):
    executed = kernel.run(line)
    assert not executed.error, executed.error
    return executed.all


def used(kernel, name):
    """Rows of ``used-by``: name, kind and what it came from."""
    lines = said(kernel, f"%features used-by {name}").splitlines()
    return {tuple(re.split(r" {2,}", line.strip())[:3]) for line in lines if "  " in line} - {("Name", "Kind", "From")}


def without_ids(rows):
    return {tuple(re.sub(r" [0-9a-f]{6}$", "", cell) for cell in row) for row in rows}


FROM_DATASET = {("from-dataset", "run", "climate@1"), ("sunnier/1", "model", "from-dataset")}
FROM_GROUP = {
    ("from-group", "run", "towns@1, commit 0"),
    ("sunny/1", "model", "from-group"),
    ("climate@1", "training dataset", "towns@1, commit 0"),
}


@pytest.mark.parametrize("name", ["towns", "towns@1", "towns.rain", "rain"])
def test_a_group_and_a_feature_tell_the_datasets_runs_and_models_made_of_them(trained, name):
    assert without_ids(used(trained, name)) == FROM_GROUP | FROM_DATASET


def test_a_training_dataset_tells_the_runs_and_models_made_of_it(trained):
    assert without_ids(used(trained, "climate")) == FROM_DATASET


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("%experiments show from-group", r"towns@1 +feature group +0 +rain, sun"),
        ("%models show sunny", r"towns@1 +feature group +0 +rain, sun"),
        ("%experiments show from-dataset", r"climate@1 +training dataset +rain, sun"),
        ("%models show sunnier", r"climate@1 +training dataset +rain, sun"),
    ],
)
def test_a_run_and_a_model_tell_what_they_were_made_of(trained, line, source):
    shown = said(trained, line)
    assert re.search(source, shown), shown


def test_python_tells_what_was_made_of_a_group_too(trained):
    told = trained.run(
        "import hops_magic as hops\nprint({(use.name, use.kind.value) for use in hops.features.used_by('towns')})"
    )
    assert "('sunny/1', 'model')" in told.all
    assert "('climate@1', 'training dataset')" in told.all


def test_a_model_names_its_run_and_a_dataset_its_groups(trained):
    assert "from-dataset" in said(trained, "%models show sunnier")
    assert re.search(r"towns@1", said(trained, "%features dataset describe climate"))


def test_a_run_tells_what_its_ranks_read_and_wrote_by_themselves(kernel):
    cells = (
        SAVE.replace("towns", "places"),
        READ.replace("towns.rain towns.sun", "places.rain").replace("table", "given"),
        """%%distributed -n 2 --framework none --name reads
import hops_magic as hops
seen = (len(given), len(hops.features.get("places.sun")))
if hops.rank == 0:
    hops.features.save({"place_id": [1], "dry": [True]}, "found", key="place_id", statistics=False)
""",
    )
    for cell in cells:
        executed = kernel.run(cell)
        assert not executed.error, executed.error
    shown = said(kernel, "%experiments show reads")
    assert re.search(r"places@1 +feature group +0 +rain, sun", shown), shown
    assert without_ids(used(kernel, "places.sun")) == {("reads", "run", "places@1, commit 0")}
    written = kernel.run("print([commit.run_id for commit in hops.features.history('found')])").all
    # the run's own id, by which it can be asked for
    assert "reads" in said(kernel, f"%experiments show {written.strip()[2:-2]}")


def test_a_run_on_other_data_is_not_among_the_uses(trained):
    before = used(trained, "towns")
    cells = "wet, bright = np.ones((8, 1), 'float32'), np.ones(8, 'float32')", train(trained, "of-neither", "clueless")
    for cell in ("import numpy as np", *cells):
        executed = trained.run(cell)
        assert not executed.error, executed.error
    assert used(trained, "towns") == before


def test_a_study_tells_what_its_trials_read_by_themselves(kernel):
    cells = (
        SAVE.replace("towns", "villages"),
        """%%tune --trials 3 --minimize value --framework none --name searching x=uniform(0.0, 1.0)
import hops_magic as hops
x * len(hops.features.get("villages.sun"))
""",
    )
    for cell in cells:
        executed = kernel.run(cell)
        assert not executed.error, executed.error
    assert without_ids(used(kernel, "villages.sun")) == {("searching", "run", "villages@1, commit 0")}
