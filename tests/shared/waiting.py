"""Waiting on facts."""

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

DEADLINE_S = 60


def wait_until(fact, what, deadline_s=DEADLINE_S):
    """Poll a fact until it is true; what never becomes true fails with its name."""
    end = time.monotonic() + deadline_s
    while not (value := fact()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {deadline_s} s")
        time.sleep(0.02)
    return value


def in_a_loop(coroutine):
    """Run a coroutine in an event loop of its own; the main thread may hold that of a browser."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def where_it_is(told):
    """Address of a Jupyter server from the file in which it tells it; None while that is not wholly written."""
    try:
        return json.loads(told.read_text())["url"].rstrip("/")
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def listens(url):
    """Whether a server takes connections; Jupyter's says where it is before it does."""
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0
