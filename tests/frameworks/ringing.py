"""Processes that form a ring."""

import multiprocessing
import traceback
from pathlib import Path

from hops_magic.frameworks.rendezvous import connect_ring, listen

TOKEN = b"t" * 32
DEADLINE_S = 60


def on_ring(world, body, place, *, tokens=None, contexts=(None, None), silent=0):
    """Run ``body(ring)`` on each rank of a ring; returns what each returned, or its error's text; ``silent`` ranks die."""
    listeners = [listen(Path(place) if not isinstance(place, str) else place) for _ in range(world)]
    addresses = [address for _, address in listeners]
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()

    def rank(number):
        try:
            ring = connect_ring(
                number,
                world,
                addresses,
                token=(tokens or [TOKEN] * world)[number],
                listener=listeners[number][0],
                timeout_s=5,
                ssl_client=contexts[0],
                ssl_server=contexts[1],
            )
            answers.put((number, body(ring)))
        except Exception as error:  # noqa: BLE001 (told to the parent)
            answers.put((number, f"{type(error).__name__}: {error}"))
            traceback.print_exc()

    processes = [fork.Process(target=rank, args=(number,)) for number in range(world)]
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
