"""``%%tune`` and ``%%ablate`` in a real kernel: what they bring, what they say, and that a study outlives the kernel."""

import pytest

from hops_magic.errors import UsageError
from hops_magic.magics.tune import parse_line
from hops_magic.tuning.space import Space, loguniform

TUNE = """%%tune -n 8 --minimize loss --stop none --seed 1 --name {name} x=uniform(0, 1) kind=choice(["a", "b"]) {options}
import time
import hops_magic as hops
for step in range(1, 4):
    hops.report(step=step, loss=offset + (x - 0.3) ** 2 + 1 / step)
    time.sleep(pause)
made = [x, kind]
"""


def test_best_and_study_are_in_the_notebook(kernel):
    kernel.run("offset, pause = 1.0, 0.01")
    executed = kernel.run(TUNE.format(name="first", options="--keep-model"))
    assert not executed.error, executed.error
    assert "best loss" in executed.text
    assert "8 of 8 trials" in executed.text
    assert kernel.ask("(len(study.trials), sorted(best))") == "(8, ['kind', 'x'])"
    assert kernel.ask("made == [best['x'], best['kind']]") == "True"
    assert kernel.ask("bool(study.best_value == study.trials['loss'].min())") == "True"
    shown = kernel.run("%experiments show first").all
    assert "first-7" in shown
    assert "first-7" not in kernel.run("%experiments").all


def test_a_plain_cell_runs_with_the_best_set_by_hand(kernel):
    kernel.run("x, kind = 0.3, 'a'")
    executed = kernel.run(TUNE.format(name="hidden", options="").replace("-n 8", "-n 2"))
    assert not executed.error, executed.error
    assert "the hyperparameter x hides the notebook's variable x (0.3)" in executed.all
    kernel.run("del x, kind")


def test_a_study_goes_on_while_the_kernel_restarts(kernel):
    kernel.run("offset, pause = 0.0, 0.3")
    detached = kernel.run(TUNE.format(name="survivor-study", options="--detach"))
    assert "%attach" in detached.text
    kernel.restart()
    kernel.run("%load_ext hops_magic\nimport hops_magic as hops")
    assert "survivor-study" in kernel.run("%attach").all
    attached = kernel.run("%attach survivor-study")
    assert not attached.error, attached.error
    assert kernel.ask("(len(study.trials), study.state.value)") == "(8, 'done')"


def test_a_study_goes_on_in_another_kernel_on_another_cluster(kernel):
    kernel.run("offset, pause = 0.0, 0.01")
    executed = kernel.run(TUNE.format(name="longer", options="--search random").replace("-n 8", "-n 3"))
    assert not executed.error, executed.error
    values = kernel.ask("study.trials['x'].tolist()")
    kernel.run("%cluster stop --force")
    kernel.restart()
    kernel.run("%load_ext hops_magic\nimport hops_magic as hops")
    kernel.run("%cluster start -n 2 --threads 1")
    kernel.run("offset, pause = 0.0, 0.01")
    line = TUNE.replace("--name {name} ", "").replace("--seed 1 ", "").replace("-n 8", "-n 5 --resume longer")
    executed = kernel.run(line.format(options=""))
    assert not executed.error, executed.error
    assert "5 of 5 trials" in executed.text
    assert kernel.ask("study.trials['x'].tolist()[:3]") == values
    assert kernel.ask("(study.state.value, len(study.trials), study.summary.search)") == "('done', 5, 'random')"


def test_an_interrupt_ends_the_study_and_keeps_what_is_done(kernel):
    kernel.run("offset, pause = 0.0, 0.2")
    message = kernel.send(TUNE.format(name="cut", options="").replace("-n 8", "-n 400"))
    kernel.result(message, until=lambda executed: "best loss" in executed.text)
    kernel.manager.interrupt_kernel()
    executed = kernel.result(message)
    assert not executed.error, executed.error
    assert kernel.ask("(study.state.value, len(study.trials) < 400, 'x' in best)") == "('stopped', True, True)"


def test_ablation_tells_what_each_part_is_worth(kernel):
    cell = """%%ablate --maximize score --flags boost --repeats 2 --name parts
import hops_magic as hops
1.0 + 2.0 * boost + (0.5 if hops.ablate.on("extra") else 0.0)
"""
    executed = kernel.run(cell)
    assert not executed.error, executed.error
    assert kernel.ask("[(e.component, e.difference) for e in ablation.effects]") == "[('flag:boost', -2.0), ('extra', -0.5)]"
    assert "flag:boost" in executed.all


def test_a_line_may_name_a_space_and_add_to_it():
    space, options = parse_line("space --minimize loss epochs=5 --trials 3", {"space": {"lr": loguniform(1e-5, 1e-1)}})
    assert space == Space.of({"lr": loguniform(1e-5, 1e-1), "epochs": 5})
    assert options.trials == 3


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--minimize loss", "needs a space"),
        ("spcae --minimize loss", "did you mean space"),
        ("x=unifrom(0, 1)", "did you mean uniform"),
        ("x=uniform(0, 1) --trails 3", "unrecognized arguments: --trails"),
        ("x=uniform(0, 1) --trials 0", "trials must be at least 1"),
        ("x=uniform(0, 1) --minimize a --maximize b", "cannot be combined with --minimize"),
        ("x=uniform(0, 1) --budget soon", "must be a time such as 90s, 30m or 2h"),
        ("x=uniform(0, 1) --minimize a --minimize b", "--minimize is given twice, as a and b: leave one of them out"),
        ("x=uniform(0, 1) x=uniform(0, 2)", "x is given twice, as uniform\\(0, 1\\) and uniform\\(0, 2\\)"),
        ("x=uniform(0, 1) --target nan", "target must be a finite number, got nan"),
        ("lambda=uniform(0, 1)", "must not have words of Python's own as keys"),
        ("x=uniform(1, 0)", "lower bound below its upper one"),
        ("x=uniform(0, 1", "is missing"),
    ],
)
def test_mistakes_on_the_line_get_one_sentence(line, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_line(line, {"space": {"lr": loguniform(1e-5, 1e-1)}})


def test_what_is_no_search_or_rule_is_named(kernel):
    for options, sentence in [("--search tpee", "did you mean tpe"), ("--stop offset", "is a float, which has no methods")]:
        cell = TUNE.format(name="none", options=options)
        executed = kernel.run(cell.replace("--stop none ", "") if "--stop" in options else cell)
        assert sentence in executed.all
        assert "Traceback" not in executed.all
