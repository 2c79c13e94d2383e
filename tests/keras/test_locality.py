"""Lengths that a step reads off its rows: those of the inner axes are alike on all ranks, the number of rows is not."""

import numpy as np
import tensorflow as tf
from parity import plain

from hops_magic.frameworks.keras.locality import is_local

ALIKE = {
    "an inner axis": lambda x: tf.shape(x)[1],
    "the last axis": lambda x: tf.shape(x)[-1],
    "one before the last": lambda x: tf.shape(x)[-2],
    "all axes but the first": lambda x: tf.shape(x)[1:],
    "the last two": lambda x: tf.shape(x)[-2:],
    "positions up to the last axis": lambda x: tf.range(tf.shape(x)[-1]),
}
OF_ROWS = {
    "the first axis": lambda x: tf.shape(x)[0],
    "the first axis, from the end": lambda x: tf.shape(x)[-3],
    "all axes": lambda x: tf.shape(x)[:],
    "all axes, from the end": lambda x: tf.shape(x)[-3:],
    "the axes up to one": lambda x: tf.shape(x)[:2],
    "the axes turned round": lambda x: tf.shape(x)[1::-1],
    "rows themselves": lambda x: x[-1],
}


def found_local(lengths):
    """Say of each whether it may differ from rank to rank; in a fork, for other tests fork from this process too."""

    def body():
        found = {}
        for name, length in lengths.items():

            @tf.function(input_signature=[tf.TensorSpec((None, None, None))])
            def step(x, name=name, length=length):
                found[name] = np.array(is_local(length(x)))
                return x

            step.get_concrete_function()
        return found

    return {name: bool(local) for name, local in plain(body).items()}


def test_lengths_of_inner_axes_are_alike():
    assert found_local(ALIKE) == dict.fromkeys(ALIKE, False)


def test_what_depends_on_the_rows_is_local():
    assert found_local(OF_ROWS) == dict.fromkeys(OF_ROWS, True)
