"""Names that a cell is given and does not read, which would make every trial the same."""

import pytest

from hops_magic.cells.capture import CellOrigin
from hops_magic.errors import CaptureError, OptionError, UsageError
from hops_magic.scripts import as_source
from hops_magic.training import Surroundings
from hops_magic.tuning.ablation import AblateOptions
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.preparing import prepare_ablation, prepare_study
from hops_magic.tuning.space import Space, choice, uniform

CELL = Surroundings(origin=CellOrigin(label="In[3]", first_line=2))
RATE = {"rate": uniform(0.0, 1.0)}


def notebook(source):
    """The names of a notebook in which a cell was run."""
    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


def study(source, space, namespace=None):
    asked = TuneOptions(minimize="loss", framework="none")
    return prepare_study(source, {} if namespace is None else namespace, Space.of(space), asked, CELL)


def test_a_name_that_nothing_reads_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"nothing in In\[3\] reads the hyperparameter raet: did you mean rate\?"):
        study("rate * 2", {"raet": uniform(0.0, 1.0)}, {"rate": 0.5})
    with pytest.raises(UsageError, match="reads the hyperparameter momentum: its trials would be all alike"):
        study("rate * 2", RATE | {"momentum": uniform(0.0, 1.0)})
    with pytest.raises(CaptureError, match=r"name 'rate' is not defined in the notebook: did you mean raet\?"):
        study("rate * 2", {"raet": uniform(0.0, 1.0)})


@pytest.mark.parametrize(
    "source",
    [
        "rate",
        "def f():\n    return rate\nf()",
        "print(f'{rate}')",
        "!echo $rate",
        "eval('ra' + 'te')",
        "[rate for _ in range(3)]",
    ],
)
def test_every_way_of_reading_counts(source):
    assert study(source, RATE).warnings == ()


def test_what_a_function_of_the_notebook_reads_counts():
    namespace = notebook("def inner():\n    return rate\ndef build():\n    return inner()")
    assert study("build()", RATE, namespace).warnings == ()


def test_a_constant_may_be_there_for_the_record():
    assert study("rate", RATE | {"version": 3}).warnings == ()


def test_a_name_that_the_cell_sets_itself_gets_a_warning():
    (warning,) = study("rate = 0.1\nrate * 2", RATE).warnings
    assert warning == "In[3] sets the hyperparameter rate itself before it reads it: its trials are all alike"
    assert study("rate = rate or 0.1", RATE).warnings == ()


def test_a_function_reads_what_it_has_parameters_for():
    def train(rate, units=8):
        return rate * units

    def prepare(space):
        source, names, surroundings = as_source(train, None, parameters=Space.of(space).names)
        return prepare_study(source, names, Space.of(space), TuneOptions(minimize="loss", framework="none"), surroundings)

    assert prepare(RATE | {"units": choice([8, 16])}).warnings == ()
    with pytest.raises(UsageError, match=r"nothing in train reads the hyperparameter untis: did you mean units\?"):
        prepare(RATE | {"untis": choice([8, 16])})


def test_flags_that_change_nothing_are_refused():
    def ablation(source, flags, namespace):
        return prepare_ablation(source, namespace, AblateOptions(minimize="loss", flags=flags, framework="none"), CELL)

    assert ablation("1.0 + use_bn", ("use_bn",), {}).space.names == ()
    with pytest.raises(UsageError, match=r"reads the flag usebn: did you mean use_bn\?"):
        ablation("1.0 + use_bn", ("usebn",), {"use_bn": True})
    with pytest.raises(UsageError, match="sets the flag use_bn itself"):
        ablation("use_bn = True\n1.0 + use_bn", ("use_bn",), {})


def test_a_key_of_one_option_of_a_whole_space_that_nothing_reads_is_warned_of():
    from hyperopt import hp

    whole = hp.choice("model", [{"kind": "nb"}, {"kind": "svm", "cost": hp.lognormal("cost", 0, 1)}])
    (warning,) = prepare_study(
        "len(kind)", {}, Space.of(whole), TuneOptions(minimize="loss", framework="none"), CELL
    ).warnings
    assert warning == "nothing in In[3] reads cost, which the space gives"


def test_a_word_of_pythons_own_is_no_hyperparameter():
    with pytest.raises(OptionError, match=r"must not have words of Python's own as keys, got lambda: rename it"):
        Space.of({"lambda": uniform(0.0, 1.0)})
    assert Space.of({"params": {"lambda": uniform(0.0, 1.0)}}).labels == ("params.lambda",)
