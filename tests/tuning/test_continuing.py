"""A study that is continued searches and stops as before where nothing else is said, and is told what has changed."""

import json

import numpy as np
import pytest

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import UsageError
from hops_magic.runs import events as ev
from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study, advance_study_all, table_of
from hops_magic.training import Surroundings
from hops_magic.tuning.continuing import continued, study_of
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import prepare_study
from hops_magic.tuning.space import Space, uniform

SPACE = Space.of({"x": uniform(0.0, 1.0)})


class Own:
    def ask(self, number):
        return {"x": 0.5}

    def tell(self, number, point, outcome):
        pass


def prepared(source="x", namespace=None, own_search=None, **options):
    surroundings = Surroundings(origin=CellOrigin(label="In[3]", first_line=2))
    asked = TuneOptions(minimize="loss", framework="none", **options)
    return prepare_study(source, namespace or {}, SPACE, asked, surroundings, search=own_search)


def go_on(first, second):
    """Continue a study as it is recorded."""
    description = json.loads(json.dumps(first.description()))
    return continued(second, study_of(first.run_id, description, []), description)


def test_search_rule_and_seed_are_those_of_before():
    first = prepared(search="anneal", stop="asha", grace=2, max_steps=9, seed=7)
    again = go_on(first, prepared(resume="it"))
    assert (again.search, again.stop, again.trial.seed) == ("anneal", "asha", 7)
    assert (again.options.grace, again.options.reduction, again.options.max_steps) == (2, None, 9)
    assert again.description()["how"] == first.description()["how"]
    assert again.run_id == first.run_id


def test_what_is_said_anew_counts():
    again = go_on(prepared(search="anneal", stop="asha", seed=7), prepared(search="tpe", stop="none", seed=8, resume="it"))
    assert (again.search, again.stop, again.trial.seed) == ("tpe", "none", 8)


def test_an_object_of_ones_own_must_be_named_again():
    with pytest.raises(UsageError, match="--resume it: name --search again, which was an object of your own, a Own"):
        go_on(prepared(own_search=Own()), prepared(resume="it"))
    assert isinstance(go_on(prepared(own_search=Own()), prepared(own_search=Own(), resume="it")).search, Own)


def test_data_that_is_another_gets_a_warning():
    source = "float(data.sum()) * x + offset"
    first = prepared(source, {"data": np.arange(3), "offset": 1})
    assert go_on(first, prepared(source, {"data": np.arange(3), "offset": 1}, resume="it")).warnings == ()
    (warning,) = go_on(first, prepared(source, {"data": np.arange(4), "offset": 1}, resume="it")).warnings
    assert warning == "not the same as in the trials before: data"


def test_a_hyperparameter_may_be_called_like_a_column():
    story = [
        ev.TrialStarted(trial=0, values={"step": 0.1, "x": 2.0}, point={}),
        ev.TrialReported(trial=0, step=4, values={"loss": 1.0}),
        ev.TrialEnded(trial=0, state=TrialState.DONE, value=1.0),
    ]
    (row,) = table_of(advance_study_all(Study(run_id="s", metric="loss", names=("step", "x")), story))
    assert (row["step"], row["hyperparameter step"], row["x"]) == (4, 0.1, 2.0)
