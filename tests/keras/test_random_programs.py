"""Twenty programs drawn at random are equal to one process, refused or named; ``make fuzz`` runs as many as one likes."""

import re

import pytest
from fuzz.recipe import NONE, draw, simpler, write
from fuzz.shrinking import judged
from fuzz.verdicts import judge

WRONG_ON_PURPOSE = """
import keras, numpy as np, tensorflow as tf
import hops_magic as hops
keras.utils.set_random_seed(7)
result = {{"number": {number}}}
"""


@pytest.mark.parametrize("seed", range(1, 21))
def test_a_random_program_is_equal_or_refused_or_named(seed):
    recipe = draw(seed)
    verdict = judged(recipe)
    assert not verdict.failed, f"{verdict}\n{write(recipe)}"


def test_what_ranks_do_differently_is_found():
    silent = judge(WRONG_ON_PURPOSE.format(number="0.0 if hops.world_size == 1 else 1e-8"), 2, told=True)
    assert (silent.kind, list(silent.differing)) == ("silent", ["result:number"])
    crash = judge(WRONG_ON_PURPOSE.format(number="1 / (2 - hops.world_size)"), 2, told=True)
    assert crash.kind == "crash"
    assert "division by zero" in crash.why


def test_a_seed_says_all_of_a_program_and_parts_can_be_dropped():
    for seed in range(100):
        recipe = draw(seed)
        text = write(recipe)
        assert text == write(draw(seed))
        compile(text, "program", "exec")
        assert "{{" not in re.sub(r"\{\{?['\"]", "", text)
        for smaller in simpler(recipe):
            compile(write(smaller), "program", "exec")
            assert smaller != recipe
    assert any(draw(seed).step != NONE for seed in range(9))
