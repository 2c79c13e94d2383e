"""Placement as a pure state machine: all slots or none, in order, released when something dies."""

from hops_magic.engine.gangs import Gangs, Request, Slots


def cluster(*hosts, per_worker=1):
    gangs = Gangs()
    for number, host in enumerate(hosts):
        gangs.add(Slots(worker=f"w{number}", host=host, count=per_worker))
    return gangs


def ask(gangs, run_id, ranks, slots_per_rank=1):
    return gangs.reserve(Request(run_id=run_id, ranks=ranks, slots_per_rank=slots_per_rank))


def test_two_wide_runs_never_hold_half_a_gang_each():
    gangs = cluster("a", "a", "a", "a")
    assert ask(gangs, "first", 3) == ["first"]
    assert ask(gangs, "second", 3) == []
    assert list(gangs.held) == ["first"]
    assert gangs.position("second") == 1
    assert gangs.release("first") == ["second"]
    assert sum(len(rank) for rank in gangs.held["second"]) == 3


def test_a_narrow_run_waits_behind_a_wide_one_so_that_the_wide_one_is_not_starved():
    gangs = cluster("a", "a")
    ask(gangs, "running", 1)
    ask(gangs, "wide", 2)
    assert ask(gangs, "narrow", 1) == []
    assert [gangs.position(name) for name in ("wide", "narrow")] == [1, 2]
    assert gangs.release("running") == ["wide"]
    assert gangs.release("wide") == ["narrow"]


def test_asking_twice_takes_no_second_gang():
    gangs = cluster("a", "a", "a", "a")
    ask(gangs, "run", 2)
    assert ask(gangs, "run", 2) == []
    assert sum(gangs.free().values()) == 2


def test_a_gang_stays_on_one_host_when_one_can_hold_it():
    gangs = cluster("a", "b", "b", "a", "a")
    ask(gangs, "run", 2)
    # host b holds it exactly and leaves host a whole
    assert {gangs.workers[worker].host for rank in gangs.held["run"] for worker in rank} == {"b"}


def test_a_gang_over_hosts_keeps_neighbours_together():
    gangs = cluster("a", "b", "a", "b")
    ask(gangs, "run", 4)
    hosts = [gangs.workers[rank[0]].host for rank in gangs.held["run"]]
    assert hosts in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_the_slots_of_one_rank_are_on_one_host():
    gangs = cluster("a", "b", "b")
    ask(gangs, "run", 1, slots_per_rank=2)
    assert gangs.held["run"] == (("w1", "w2"),)
    assert ask(gangs, "other", 1, slots_per_rank=2) == []


def test_losing_a_worker_names_the_runs_that_held_it_and_frees_nothing_twice():
    gangs = cluster("a", "a", "a")
    ask(gangs, "run", 2)
    ask(gangs, "other", 1)
    (lost,) = gangs.held["run"][0]
    assert gangs.remove(lost) == ["run"]
    gangs.release("run")
    assert gangs.total == 2
    assert sum(gangs.free().values()) == 1


def test_new_workers_serve_the_queue():
    gangs = cluster("a")
    ask(gangs, "run", 2)
    assert gangs.add(Slots(worker="w9", host="a", count=1)) == ["run"]


def test_leaving_the_queue_lets_the_next_one_in():
    gangs = cluster("a", "a")
    ask(gangs, "running", 1)
    ask(gangs, "wide", 2)
    ask(gangs, "narrow", 1)
    assert gangs.release("wide") == ["narrow"]
