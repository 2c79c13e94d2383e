"""Which features the notebook's names come from, followed from cell to cell."""

from hops_magic.cells.provenance import Provenance
from hops_magic.runs.inputs import FeatureInput, InputKind


def read(name, *features, commit=0):
    return FeatureInput(kind=InputKind.GROUP, name=name, version=1, commit=commit, features=features)


def test_names_that_come_from_features_are_followed_through_cells():
    provenance = Provenance()
    provenance.cell_ran("df = store.get('budget')", [read("teams", "budget")])
    provenance.cell_ran("import numpy as np\nother = np.zeros(3)", [])
    provenance.cell_ran("x = df.drop(columns='y').to_numpy()\ny = df['y']", [])
    provenance.cell_ran("%%distributed -n 2\nmodel = fit(x, other)", [])
    assert provenance.of(["model"]) == (read("teams", "budget"),)
    assert provenance.of(["other", "np", "nothing"]) == ()


def test_a_name_that_is_bound_anew_forgets():
    provenance = Provenance()
    provenance.cell_ran("x = store.get('budget')", [read("teams", "budget")])
    provenance.cell_ran("x = 3", [])
    assert provenance.of(["x"]) == ()


def test_readings_of_one_commit_are_one_and_of_two_are_two():
    provenance = Provenance()
    provenance.cell_ran("a = get('budget')", [read("teams", "budget")])
    provenance.cell_ran("b = get('name')", [read("teams", "name")])
    provenance.cell_ran("c = get('name')", [read("teams", "name", commit=4)])
    provenance.named("d", [read("players", "age")])
    assert provenance.of(["a", "b", "c", "d"]) == (
        read("teams", "budget", "name"),
        read("teams", "name", commit=4),
        read("players", "age"),
    )
