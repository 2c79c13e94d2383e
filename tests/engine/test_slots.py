"""What fits on a cluster: a rank's slots lie on one host."""

import pytest

from hops_magic.engine.submit import _most_ranks


def state(**slots):
    """Workers by name, whose first letter is their host."""
    return {"slots": slots, "nodes": {worker: {"host": worker[0]} for worker in slots}}


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
