"""A study that is continued searches and stops as before where nothing else is said, and is told what has changed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import RunFailedError, UsageError
from hops_magic.runs import events as ev
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, advance_study_all, table_of
from hops_magic.training import Surroundings
from hops_magic.tuning.continuing import continued, study_of
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import prepare_study
from hops_magic.tuning.results import collect_study
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


@pytest.mark.parametrize("metric", ["state", "step", "seconds", "reason"])
def test_a_metric_may_be_called_like_a_column(metric):
    story = [
        ev.TrialStarted(trial=0, values={"x": 2.0}, point={}),
        ev.TrialReported(trial=0, step=4, values={metric: 1.5}),
        ev.TrialEnded(trial=0, state=TrialState.DONE, value=1.5, step=4),
    ]
    (row,) = table_of(advance_study_all(Study(run_id="s", metric=metric, names=("x",)), story))
    assert (row[f"metric {metric}"], row["state"], row["step"], row["x"]) == (1.5, "done", 4, 2.0)


def test_comments_and_blank_lines_are_no_other_study():
    first = prepared("y = x\nif y:\n    y = 2 * x\ny")
    assert go_on(first, prepared("# the same\ny = x\n\nif y:  # always\n    y = 2*x\n\ny", resume="it")).before is not None


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ("# a rate\n\ny = 2 * x\ny", "line 3 of the cell was 'y = x' and is 'y = 2 \\* x'"),
        ("\ny = x\ny += 1\ny", "line 3 of the cell, 'y \\+= 1', is new"),
        ("y = x", "line 2 of the cell, 'y', is gone"),
    ],
)
def test_another_program_is_told_by_its_first_line_that_differs(now, message):
    with pytest.raises(UsageError, match=message):
        go_on(prepared("y = x\ny"), prepared(now, {"y": 1}, resume="it"))


def test_a_failed_study_shows_the_error_that_its_reason_tells():
    class Kept:
        def forget(self):
            pass

    ends = [("KeyError: 'a'", "the first trial's lines"), ("ValueError: b", "the second trial's lines")]
    events = [
        ev.TrialEnded(trial=number, state=TrialState.FAILED, value=None, reason=reason, error=error)
        for number, (reason, error) in enumerate(ends)
    ]
    study = replace(
        advance_study_all(Study(run_id="r", name="s", metric="loss"), events),
        state=RunState.FAILED,
        reason="the first 3 trials failed with the same error: ValueError: b",
    )
    namespace = {"best": "of before"}
    with pytest.raises(RunFailedError) as caught:
        collect_study(Kept(), namespace, study, None)
    assert "the second trial's lines" in str(caught.value)
    assert "first trial's" not in str(caught.value)
    assert "best" not in namespace
