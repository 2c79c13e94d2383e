"""Collectives among real processes: right, alike on all ranks, and never hanging when ranks disagree or die."""

import os
import socket
import ssl
import threading
import time

import ml_dtypes
import numpy as np
import pytest
from ringing import DEADLINE_S, on_ring

from hops_magic.engine.security import generate
from hops_magic.errors import CollectiveError, PeerLostError
from hops_magic.frameworks.keras.inputs.frames import END, Abandoned, Frame, Incoming, Of, send
from hops_magic.frameworks.links import open_links
from hops_magic.frameworks.rendezvous import connect_ring, listen
from hops_magic.frameworks.ring import Alone


def part(rank, size, dtype="float32"):
    return (np.random.default_rng(rank).normal(size=size) * 10).astype(dtype)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_sums_are_right_and_the_same_bits_on_every_rank(world, tmp_path):
    sizes = (0, 1, 5, 1_000, 70_000, 1_200_000, 2_097_152, 70_001)

    def body(ring):
        return [ring.all_reduce(part(ring.rank, size)) for size in sizes]

    found = on_ring(world, body, tmp_path)
    for number, size in enumerate(sizes):
        expected = np.sum([part(rank, size).astype("float64") for rank in range(world)], axis=0)
        np.testing.assert_allclose(found[0][number], expected, rtol=1e-4, atol=1e-3)
        assert len({answer[number].tobytes() for answer in found}) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "int64", "uint8"])
def test_types_and_shapes_are_kept(dtype, tmp_path):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)

    def body(ring):
        summed = ring.all_reduce(np.full((3, 2), ring.rank + 1).astype(kind))
        large = ring.all_reduce(np.full((300_001, 3), ring.rank + 1).astype(kind))
        assert (large.shape, large.dtype) == ((300_001, 3), summed.dtype)
        assert set(large.astype("float64").ravel().tolist()) == {3.0}
        return str(summed.dtype), summed.astype("float64").tolist(), ring.all_reduce(np.array(2.0)).shape

    assert on_ring(2, body, tmp_path) == [(dtype, [[3.0, 3.0]] * 3, ())] * 2


def test_mean_max_min(tmp_path):
    def body(ring):
        own = np.array([float(ring.rank)])
        return [float(ring.all_reduce(own, op)[0]) for op in ("mean", "max", "min")]

    assert on_ring(3, body, tmp_path) == [[1.0, 2.0, 0.0]] * 3


def test_objects_arrays_and_barriers(tmp_path):
    def body(ring):
        ring.barrier()
        gathered = ring.all_gather_objects({"rank": ring.rank, "text": "x" * ring.rank * 100_000})
        given = ring.broadcast(np.full(300_000, ring.rank), root=2)
        told = ring.broadcast_object("from 1" if ring.rank == 1 else None, root=1)
        return [len(each["text"]) for each in gathered], int(given.min()), int(given.max()), told

    assert on_ring(3, body, tmp_path) == [([0, 100_000, 200_000], 2, 2, "from 1")] * 3


def test_the_input_is_not_changed(tmp_path):
    def body(ring):
        own = np.ones(100_000, "float32")
        ring.all_reduce(own)
        return float(own.sum())

    assert on_ring(2, body, tmp_path) == [100_000.0] * 2


def test_ranks_that_call_different_collectives_are_told_both_calls(tmp_path):
    def body(ring):
        ring.all_reduce(np.zeros(3 + ring.rank, "float32"))

    for answer in on_ring(2, body, tmp_path):
        assert answer.startswith("CollectiveError")
        assert "elements=3" in answer
        assert "elements=4" in answer


@pytest.mark.parametrize("size", [1, 2_000_000])
def test_every_rank_hears_of_a_disagreement_that_only_neighbours_see(size, tmp_path):
    def body(ring):
        for _ in range(3):
            ring.all_reduce(np.zeros(2 if ring.rank == 1 else size, "float32"))

    for answer in on_ring(4, body, tmp_path):
        assert answer.startswith("CollectiveError: ranks do not call the same collectives")
        assert "elements=2" in answer
        assert f"elements={size})" in answer


@pytest.mark.parametrize("place", ["unix", "127.0.0.1"])
def test_any_two_calls_that_differ_are_told_and_never_hang(place, tmp_path):
    large = np.zeros(20_000_000, "uint8")
    calls = {
        "barrier": lambda ring: ring.barrier(),
        "all_reduce(op=sum": lambda ring: ring.all_reduce(large),
        "all_reduce(op=max": lambda ring: ring.all_reduce(large, "max"),
        "of a, b": lambda ring: ring.all_reduce(large, what="a, b"),
        "broadcast(root=0": lambda ring: ring.broadcast(large),
        "broadcast(root=1": lambda ring: ring.broadcast(large, root=1),
        "broadcast_object(root=0": lambda ring: ring.broadcast_object(large),
        "broadcast_object(root=1": lambda ring: ring.broadcast_object(None, root=1),
        "all_gather_objects": lambda ring: ring.all_gather_objects("x"),
    }
    names = list(calls)
    for first, second in zip(names, names[1:] + names[:1], strict=True):
        answers = on_ring(
            2, lambda ring, pair=(first, second): calls[pair[ring.rank]](ring), tmp_path if place == "unix" else place
        )
        for answer in answers:
            assert answer.startswith("CollectiveError: ranks do not call the same"), (first, second)
            assert first in answer
            assert second in answer


def test_what_waits_ends_when_another_thread_closes(tmp_path):
    def body(ring):
        if ring.rank == 1:
            threading.Event().wait(DEADLINE_S)  # never joins; killed at the end
        threading.Timer(0.1, ring.close).start()
        ring.barrier()

    answers = on_ring(2, body, tmp_path, silent=1)
    assert "rank 0" in answers[0]
    assert "closed" in answers[0]


def test_a_call_after_a_failure_says_what_failed(tmp_path):
    def body(ring):
        with pytest.raises(CollectiveError):
            ring.all_reduce(np.zeros(1 + ring.rank))
        ring.barrier()

    for answer in on_ring(2, body, tmp_path):
        assert "called barrier() on a ring that has ended: ranks do not call the same" in answer


def test_a_rank_that_finished_is_named(tmp_path):
    def body(ring):
        if ring.rank == 1:
            ring.close()
            return "closed"
        ring.barrier()
        return "went through"

    answers = on_ring(3, body, tmp_path)
    assert answers[1] == "closed"
    for answer in (answers[0], answers[2]):
        assert "rank 1 finished without joining" in answer
        assert "barrier" in answer


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_peer_that_dies_is_noticed_at_once(size, tmp_path):
    def body(ring):
        ring.all_reduce(np.zeros(size, "float32"))
        if ring.rank == 0:
            os._exit(9)
        began = time.monotonic()
        try:
            while True:
                ring.all_reduce(np.zeros(size, "float32"))
        except PeerLostError:
            return time.monotonic() - began

    assert on_ring(2, body, tmp_path, silent=1)[1] < 3


def test_strangers_are_turned_away_and_the_ring_forms_all_the_same(tmp_path):
    listener, address = listen(tmp_path)
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(address)
    stranger.sendall(b"\0" * 20)
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(address)
    other, other_address = listen(tmp_path)
    rings = {}

    def join(rank, own):
        rings[rank] = connect_ring(rank, 2, [address, other_address], token=b"s" * 32, listener=own, timeout_s=5)

    threads = [threading.Thread(target=join, args=(rank, own)) for rank, own in ((0, listener), (1, other))]
    for thread in threads:
        thread.start()
    stranger.close()
    for thread in threads:
        thread.join()
    silent.close()
    assert set(rings) == {0, 1}


def test_ranks_without_the_same_token_do_not_join(tmp_path):
    answers = on_ring(2, lambda ring: "joined", tmp_path, tokens=[b"a" * 32, b"b" * 32])
    assert all(answer.startswith("PeerLostError") for answer in answers)
    assert any("does not belong to this run" in answer for answer in answers)


def test_a_peer_that_never_comes_is_named_within_the_deadline(tmp_path):
    listener, address = listen(tmp_path)
    _, silent = listen(tmp_path)
    began = time.monotonic()
    with pytest.raises(Exception, match="did not join within 1 s"):
        connect_ring(0, 2, [address, silent], token=b"t" * 32, listener=listener, timeout_s=1)
    assert time.monotonic() - began < 5


def test_over_tcp_with_mutual_tls(tmp_path):
    credentials = generate(tmp_path).security()

    def contexts():
        client = credentials.get_connection_args("worker")["ssl_context"]
        server = credentials.get_listen_args("worker")["ssl_context"]
        assert server.verify_mode is ssl.CERT_REQUIRED
        return client, server

    def body(ring):
        return float(ring.all_reduce(np.ones(2_000_000, "float32")).sum())

    assert on_ring(2, body, "127.0.0.1", contexts=contexts) == [4_000_000.0] * 2


def test_parts_of_batches_travel_between_machines_with_mutual_tls(tmp_path):
    """As rank 0 deals them: what is left of a pass that was given up is dropped, and a frame of the next one kept."""
    credentials = generate(tmp_path).security()

    def contexts():
        client = credentials.get_connection_args("worker")["ssl_context"]
        return client, credentials.get_listen_args("worker")["ssl_context"]

    def body(ring):
        links = open_links(ring, "input 1", lambda sender, _: sender == 0)
        if ring.rank == 0:
            for round_, number in ((1, 0), (1, 1), (2, 0), (2, 1)):
                send(
                    links.to[1],
                    round_,
                    Frame(Of.BATCH, number, arrays=[np.full((300, 300), number), np.array(["é"], object)]),
                )
            send(links.to[1], 2, END)
            ring.barrier()
            links.close()
            return type(links.to[1]).__name__
        incoming = Incoming(links.come_from[0])
        incoming.of(1)
        second = incoming.of(2)
        with pytest.raises(Abandoned):
            incoming.of(1)
        third, end = incoming.of(2), incoming.of(2)
        ring.barrier()
        return second.total, third.total, float(third.arrays[0].sum()), third.arrays[1][0], end.of is Of.END

    assert on_ring(2, body, "127.0.0.1", contexts=contexts) == ["SSLSocket", (0, 1, 90_000.0, "é", True)]


def test_alone_answers_like_a_ring_of_one():
    alone = Alone()
    assert alone.all_reduce(np.array([3.0]), "mean").tolist() == [3.0]
    assert alone.all_gather_objects("x") == ["x"]
    assert alone.broadcast_object("y") == "y"
    alone.barrier()
