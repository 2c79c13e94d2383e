"""Programs in the manner of public examples, unchanged on two ranks: equal to one process, or refused or warned of by name.

The first line of each program says what is expected of it: ``equal``, ``equal within 2e-2``, ``equal, with neutral random
numbers`` (ranks draw other numbers than one process, so that all draw a constant here), or ``refused`` or ``told`` (refused
or named in a warning) with words of which the sentence must hold one.
"""

import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from fuzz.verdicts import TOLERANCE, judge

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
FIRST_LINE = re.compile(r"# (equal|refused|told)(?: within (\S+)|, (with neutral random numbers)| \((.+?)\))?: .+")


def with_constants_for_random_numbers():
    """Make random numbers alike in one process and on ranks, whatever part of a batch they are drawn for."""

    def drawn(shape, *args, dtype=None, **kwargs):
        return tf.fill(shape, tf.constant(0.3, dtype or keras.config.floatx()))

    def drawn_by_tensorflow(shape, *args, dtype="float32", **kwargs):
        return tf.fill(shape, tf.constant(0.3, dtype))

    keras.random.normal = keras.random.uniform = drawn
    tf.random.normal = tf.random.uniform = drawn_by_tensorflow


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_public_program_is_equal_or_refused_or_named(path):
    text = path.read_text()
    expected, tolerance, neutral, words = FIRST_LINE.match(text).groups()

    def before():
        if neutral:
            with_constants_for_random_numbers()
        if not tolerance:
            keras.config.set_floatx("float64")  # what remains is rounding in another order: no mistake can hide in it

    names = tuple((words or "").split(", "))
    verdict = judge(text, 2, told=expected != "equal", names=names, tolerance=float(tolerance or TOLERANCE), before=before)
    if expected == "equal":
        assert verdict.kind == "equal", verdict
        return
    assert verdict.kind in (("refused",) if expected == "refused" else ("refused", "named", "equal")), verdict
    assert any(word.lower() in " ".join([verdict.why, *verdict.warned]).lower() for word in names), verdict
