"""Processes that form a ring."""

import multiprocessing
import traceback
from pathlib import Path

import cloudpickle

from hops_magic.frameworks.rendezvous import connect_ring, listen

TOKEN = b"t" * 32
DEADLINE_S = 60

# ranks are forked from a process without threads, as those of a run are: a lock that a thread of another test holds would
# stay held in them
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["dask.array", "dask.dataframe", "hops_magic.rank_api", "IPython.display", "pytest"])


def on_ring(world, body, place, *, tokens=None, contexts=lambda: (None, None), silent=0):
    """Run ``body(ring)`` on each rank of a ring; returns what each returned, or its error's text; ``silent`` ranks die."""
    listeners = [listen(Path(place) if not isinstance(place, str) else place) for _ in range(world)]
    addresses = [address for _, address in listeners]
    answers = PROCESSES.Queue()
    job = cloudpickle.dumps((body, contexts))
    processes = [
        PROCESSES.Process(
            target=_rank, args=(job, number, addresses, (tokens or [TOKEN] * world)[number], listener, answers)
        )
        for number, (listener, _) in enumerate(listeners)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(answers.get(timeout=DEADLINE_S) for _ in range(world - silent))
    finally:
        for process in processes:
            process.kill()
            process.join()
        for listener, _ in listeners:
            listener.close()
    return [found.get(number) for number in range(world)]


def _rank(job, number, addresses, token, listener, answers):
    try:
        body, contexts = cloudpickle.loads(job)
        client, server = contexts()
        ring = connect_ring(
            number,
            len(addresses),
            addresses,
            token=token,
            listener=listener,
            timeout_s=5,
            ssl_client=client,
            ssl_server=server,
        )
        answers.put((number, body(ring)))
    except Exception as error:  # noqa: BLE001 (told to the parent)
        answers.put((number, f"{type(error).__name__}: {error}"))
        traceback.print_exc()
