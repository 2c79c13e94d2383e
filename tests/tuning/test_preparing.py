"""What is asked for is checked where it is asked, before a cluster is needed, in the words of the magic."""

import numpy as np
import pytest

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import OptionError, UsageError
from hops_magic.training import Surroundings
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import prepare_study
from hops_magic.tuning.space import Space, choice, randint, uniform

KERAS = "import keras\nx"


class Own:
    def report(self, trial, step, loss):
        return ""

    def ended(self, trial, state):
        pass


def study(source="x", *, own_search=None, own_stop=None, **options):
    surroundings = Surroundings(origin=CellOrigin(label="In[3]", first_line=2))
    asked = TuneOptions(minimize="loss", **options)
    space = Space.of({"x": uniform(0.0, 1.0)})
    return prepare_study(source, {}, space, asked, surroundings, search=own_search, stop=own_stop)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"search": "tpo"}, r"search must be one of .*, got tpo: did you mean tpe\?"),
        ({"stop": "medain"}, r"stop must be one of .* did you mean median\?"),
        ({"stop": "asha", "grace": 100}, r"--grace must be less than the steps of a trial \(81\), got 100"),
        ({"stop": "median", "reduction": 3}, "--reduction has no meaning with --stop median, got 3"),
        ({"stop": "none", "grace": 2}, "--grace has no meaning with --stop none, got 2"),
        ({"gpus_per_trial": 3, "workers_per_trial": 2}, r"--gpus-per-trial must be a multiple of 2 .*, got 3"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_starts(options, sentence):
    with pytest.raises(OptionError, match=sentence):
        study(**options)


def test_objects_of_ones_own_need_no_known_name_and_have_no_grace():
    assert study(own_search=Own(), own_stop=Own()).stop is not None
    with pytest.raises(OptionError, match="--grace has no meaning with a rule of your own"):
        study(own_stop=Own(), grace=3)


def test_known_points_may_be_what_a_table_or_another_study_gave():
    surroundings = Surroundings(origin=CellOrigin(label="In[3]", first_line=2))
    space = Space.of({"x": uniform(0.0, 1.0), "n": randint(0, 9), "f": choice([abs, len])})
    asked = TuneOptions(minimize="loss")
    known = [{"x": np.float64(0.25), "n": np.int64(3), "f": len}]
    prepared = prepare_study("f([x, n])", {}, space, asked, surroundings, start_with=known)
    assert [space.values(point) for point in prepared.start_with] == [{"x": 0.25, "n": 3, "f": len}]
    with pytest.raises(OptionError, match="--start-with must be a dictionary or a list of them, got 3"):
        prepare_study("f([x, n])", {}, space, asked, surroundings, start_with=3)


def test_gpus_are_those_of_the_whole_trial():
    assert study(KERAS, gpus_per_trial=2, workers_per_trial=2).trial.options.gpus_per_rank == 1
    assert study(KERAS, gpus_per_trial=2).trial.strategy == "mirrored"
    assert study(gpus_per_trial=0, workers_per_trial=2).trial.options.gpus_per_rank == 0
    with pytest.raises(OptionError, match="--gpus-per-trial must be 2, one for each of --workers-per-trial 2, got 4"):
        study(KERAS, gpus_per_trial=4, workers_per_trial=2)


def test_spaces_of_hyperopt_have_bounds_too():
    from hyperopt import hp

    for part, sentence in [
        (hp.uniform("x", 1, 0), "hp.uniform of x must have a lower bound below its upper one, got 1 and 0"),
        (hp.quniform("x", 0, 8, 0), "hp.quniform of x must have q above 0, got 0"),
        (hp.normal("x", 0, -1), "hp.normal of x must have sigma above 0, got -1"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            Space.of({"x": part})
