"""Training loops in the manner of public examples, unchanged on two and three ranks.

The first line of each program says what is expected of it: ``equal`` to one process (in float64, to 1e-9, or ``within`` a
bound that the line says), or ``refused`` or ``told`` with words of which the sentence must hold one.
"""

import linecache
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_ranks import SEED, forked, ranks

from hops_magic.frameworks.torch import TorchFramework
from hops_magic.runs.events import Warned

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
FIRST_LINE = re.compile(r"# (equal|refused|told)(?: within (\S+)| \((.+?)\))?: .+")
TOLERANCE = 1e-9


def body_of(path, dtype):
    text = path.read_text()

    def body():
        torch.set_num_threads(1)
        torch.set_default_dtype(dtype)
        linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
        namespace = {"__name__": "__main__"}
        exec(compile(text, str(path), "exec"), namespace)
        found = {}
        for name, value in namespace.items():
            if isinstance(value, torch.nn.Module):
                found |= {f"{name}.{key}": tensor.detach().numpy() for key, tensor in value.state_dict().items()}
            elif name in ("told", "weights", "total"):
                found[name] = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
        return found

    return body


def one_process(path, dtype):
    def run(rank, events):
        torch.manual_seed(SEED)
        np.random.seed(SEED)
        return body_of(path, dtype)()

    (ended,) = forked(1, run)
    assert not ended.error, ended.error
    return ended.result


def difference(one, other):
    assert one.keys() == other.keys()
    return max(
        (float(np.abs(one[name] - other[name]).max() / (1e-3 + np.abs(one[name]).max())) for name in one if one[name].size),
        default=0.0,
    )


# what a third rank adds: parts of different size, and a rank without rows
ON_THREE = ("cnn_batchnorm_dropout", "class_weights", "lstm_packed", "vae")
CASES = [(path, 2) for path in PROGRAMS] + [(path, 3) for path in PROGRAMS if path.stem in ON_THREE]


@pytest.mark.parametrize(("path", "world"), CASES, ids=lambda each: getattr(each, "stem", each))
def test_a_loop_is_equal_or_refused_or_told(path, world):
    expected, tolerance, words = FIRST_LINE.match(path.read_text()).groups()
    ended = ranks(body_of(path, torch.float64), TorchFramework(), world)
    warned = [event.message for each in ended for event in each.events if isinstance(event, Warned)]
    if expected == "refused":
        assert all(any(word in each.error for word in words.split(", ")) for each in ended), [each.error for each in ended]
        return
    assert not any(each.error for each in ended), [each.error for each in ended]
    if expected == "told":
        assert any(word in message for word in words.split(", ") for message in warned), warned
        return
    plain = one_process(path, torch.float64)
    assert plain
    for each in ended:
        assert difference(plain, each.result) < float(tolerance or TOLERANCE)
    assert not warned


@pytest.mark.parametrize("name", ["batchnorm_adam", "cnn_batchnorm_dropout", "vae", "gan"])
def test_rounding_in_float32_is_no_difference(name):
    path = Path(__file__).parent / "programs" / f"{name}.py"
    ended = ranks(body_of(path, torch.float32), TorchFramework())
    assert not any(each.error for each in ended), [each.error for each in ended]
    assert not [event.message for each in ended for event in each.events if isinstance(event, Warned)]
