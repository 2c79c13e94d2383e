"""How a machine is cut into workers, and what the table shows of them."""

from __future__ import annotations

import pytest

from hops_magic.engine.machine import Machine, plan, this_machine
from hops_magic.engine.status import ClusterKind, status_from
from hops_magic.errors import OptionError
from hops_magic.magics.cluster_table import ClusterTable

GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "asked", "workers", "threads"),
    [
        (1, {}, 2, 1),
        (1, {"workers": 1}, 1, 1),
        (2, {}, 2, 1),
        (16, {}, 4, 4),
        (7, {}, 4, 1),
        (16, {"workers": 2}, 2, 8),
        (2, {"workers": 8}, 8, 1),
        (16, {"threads": 2}, 4, 2),
    ],
)
def test_threads_do_not_oversubscribe_the_cores(cores: int, asked: dict[str, int], workers: int, threads: int) -> None:
    sizing = plan(Machine(cores=cores, memory_bytes=64 * GIB), **asked)
    assert (sizing.workers, sizing.threads) == (workers, threads)
    assert sizing.memory_bytes == 32 * GIB // workers


def test_one_worker_per_gpu() -> None:
    machine = Machine(cores=16, memory_bytes=64 * GIB, gpus=("0", "1"))
    assert (plan(machine).workers, plan(machine).threads, plan(machine, workers=1).workers) == (2, 8, 1)
    with pytest.raises(OptionError, match=r"workers must be at most 2 \(one per GPU of this machine\), got 3"):
        plan(machine, workers=3)


def test_this_machine_has_something_to_offer() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > GIB


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(OptionError, match="threads must be at least 1, got 0"):
        plan(this_machine(), threads=0)


SCHEDULER = {
    "address": "tls://10.0.0.1:8786",
    "started": None,
    "workers": {
        "tls://a:1": {
            "name": "<b>",
            "host": "a",
            "nthreads": 2,
            "memory_limit": GIB,
            "metrics": {"cpu": 7.4, "memory": GIB},
        },
        "tls://b:1": {"name": "1", "host": "b", "nthreads": 2, "memory_limit": 0, "metrics": {}},
    },
}
STATE = {
    "slots": {"tls://a:1": 1, "tls://b:1": 2},
    "gpus": {"tls://b:1": ["0", "1"]},
    "held": {"r1": [["tls://a:1"], ["tls://b:1"]]},
    "queue": [["r2", 3]],
    "runs": {
        "r1": {"name": "digits", "world_size": 2, "is_final": False},
        "r2": {"name": "<script>", "world_size": 3, "is_final": False},
        "r0": {"name": "old", "world_size": 1, "is_final": True},
    },
}


def test_status_tells_slots_runs_and_queue() -> None:
    status = status_from(ClusterKind.CONNECTED, SCHEDULER, STATE)
    assert (status.slots, status.slots_free) == (3, 1)
    assert [(run.name, run.slots, run.queue_position) for run in status.runs] == [("digits", 2, None), ("<script>", 3, 1)]


def test_table_in_a_terminal_and_in_a_notebook() -> None:
    table = ClusterTable(status_from(ClusterKind.CONNECTED, SCHEDULER, STATE, dashboard="http://x/?a=1&b=2"))
    text, markup = repr(table), table._repr_html_()
    assert "2 workers, 1 of 3 slots free" in text
    assert "run digits (r1) holds 2 slots" in text
    assert "run <script> (r2) waits for 3 slots, number 1 in the queue" in text
    assert "<script>" not in markup
    assert "<td>&lt;b&gt;</td>" in markup
    assert 'href="http://x/?a=1&amp;b=2"' in markup


def test_a_cluster_without_our_plugins_still_has_a_table() -> None:
    status = status_from(ClusterKind.BORROWED, SCHEDULER, {})
    assert (status.slots, status.runs) == (0, ())
    assert "0 of 0 slots free" in repr(ClusterTable(status))
