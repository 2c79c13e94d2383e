"""What fits on a cluster: a rank's slots lie on one host."""

import pytest

from hops_magic.engine.submit import _check_slots, _most_ranks
from hops_magic.errors import OptionError
from hops_magic.runs.options import DistributedOptions


def state(**slots):
    """Workers by name, whose first letter is their host."""
    nodes = {worker: {"host": worker[0]} for worker in slots}
    return {"slots": slots, "nodes": nodes, "gpus": {worker: ["0"] for worker in slots}}


@pytest.mark.parametrize(
    ("slots", "per_rank", "most"),
    [
        ({"a1": 1, "a2": 1, "b1": 1, "b2": 1}, 1, 4),
        ({"a1": 1, "a2": 1, "b1": 1, "b2": 1}, 2, 2),
        # four slots in all, but no host has four
        ({"a1": 1, "a2": 1, "b1": 1, "b2": 1}, 4, 0),
        ({"a1": 3, "b1": 3}, 2, 2),
        ({}, 1, 0),
    ],
)
def test_ranks_are_counted_host_by_host(slots, per_rank, most):
    assert _most_ranks(state(**slots), per_rank) == most


def test_a_rank_gets_no_more_gpus_than_one_machine_has():
    class Wish:
        options = DistributedOptions(workers=1, gpus_per_rank=3)
        slots_per_rank = 3

    with pytest.raises(OptionError, match=r"gpus_per_rank must be at most 2 \(the GPUs of one machine\), got 3"):
        _check_slots(Wish(), state(a1=1, a2=1, b1=1, b2=1))
