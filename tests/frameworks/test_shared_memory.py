"""Ranks of one host reduce large arrays in memory that they share: right, in any order of calls, and seen by nobody else."""

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ringing import on_ring

from hops_magic.frameworks import ring as ring_module
from hops_magic.frameworks.shared_memory import HALF_BYTES, Results

LARGE = HALF_BYTES // 4 + 1


def names_in(folder):
    return {file.name for file in Path(folder).iterdir()}


def shares(ring):
    return ring._memory is not None


@pytest.mark.parametrize("world", [2, 3, 4])
def test_any_calls_in_any_order_give_what_they_should(world, tmp_path):
    kinds = ["float32", "float64", "int64", "float16", "bool"]

    def made(rank, number):
        dice = random.Random(number)
        size, kind = dice.choice([0, 1, 17, 20_000, 100_003, LARGE, 2 * LARGE + 5]), dice.choice(kinds)
        return np.random.default_rng([rank, number]).integers(0, 2, size).astype(kind)

    def body(ring):
        for number in range(40):
            what = random.Random(-number - 1).choice(["sum", "max", "min", "broadcast", "gather"])
            given = [made(rank, number) for rank in range(world)]
            own = given[ring.rank].copy()
            if what == "gather":
                assert ring.all_gather_objects(ring.rank * number) == [rank * number for rank in range(world)]
                continue
            if what == "broadcast":
                root = number % world
                np.testing.assert_array_equal(ring.broadcast(own, root), given[root])
                continue
            reduced = given[0]
            for each in given[1:]:
                reduced = {"sum": np.add, "max": np.maximum, "min": np.minimum}[what](reduced, each)
            np.testing.assert_array_equal(ring.all_reduce(own, what), reduced)
            np.testing.assert_array_equal(own, given[ring.rank])
        return shares(ring)

    assert on_ring(world, body, tmp_path) == [True] * world


def test_between_hosts_nothing_is_shared():
    def body(ring):
        return float(ring.all_reduce(np.ones(LARGE, "float32"))[-1]), shares(ring)

    assert on_ring(2, body, "127.0.0.1") == [(2.0, False)] * 2


def test_where_one_rank_has_no_memory_to_share_all_use_the_ring(tmp_path):
    def body(ring):
        if ring.rank == 1:
            ring_module.buffer_of_a_rank = lambda: None
        before = len(names_in("/proc/self/fd"))
        summed = float(ring.all_reduce(np.ones(LARGE, "float32"))[-1])
        return summed, shares(ring), len(names_in("/proc/self/fd")) - before

    assert on_ring(3, body, tmp_path) == [(3.0, False, 0)] * 3


def test_the_memory_has_no_name_and_no_program_that_a_rank_starts_has_it(tmp_path):
    def body(ring):
        ring.barrier()
        shared = names_in("/dev/shm")
        ring.all_reduce(np.ones(LARGE, "float32"))
        mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:hops-ranks" in line]
        assert all(line.endswith("(deleted)") for line in mapped)
        seen = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False)
        return len(mapped), "hops-ranks" in seen.stdout, names_in("/dev/shm") - shared

    assert on_ring(2, body, tmp_path) == [(2, False, set())] * 2


def test_an_interrupt_in_the_middle_reaches_the_others(tmp_path):
    def body(ring):
        ring.all_reduce(np.ones(LARGE, "float32"))
        if ring.rank == 0:

            def interrupted(call):
                raise KeyboardInterrupt

            ring._meet = interrupted
            with pytest.raises(KeyboardInterrupt):
                ring.all_reduce(np.ones(LARGE, "float32"))
            return "interrupted"
        ring.all_reduce(np.ones(LARGE, "float32"))
        return "never"

    first, second = on_ring(2, body, tmp_path)
    assert first == "interrupted"
    assert second.startswith(("PeerLostError", "CollectiveError"))


def test_memory_for_results_is_used_again_only_when_nobody_holds_it():
    results, like = Results(), np.ones(1_000, "float32")
    first = results.like(like)
    first[:] = 7
    part = first.reshape(10, 100)[2:]
    del first
    for number in range(5):
        results.like(like)[:] = number
    assert set(part.ravel().tolist()) == {7.0}
    place = results.like(like).ctypes.data
    assert results.like(like).ctypes.data == place
    assert place % 64 == 0


def test_a_result_stays_as_it_is_while_later_ones_are_made(tmp_path):
    def body(ring):
        found = [ring.all_reduce(np.full(LARGE, number, "float32"), "mean") for number in range(5)]
        return [set(each.tolist()) for each in found]

    assert on_ring(2, body, tmp_path) == [[{float(number)} for number in range(5)]] * 2
