"""Waiting on facts."""

import time

DEADLINE_S = 60


def wait_until(fact, what, deadline_s=DEADLINE_S):
    """Poll a fact until it is true; what never becomes true fails with its name."""
    end = time.monotonic() + deadline_s
    while not (value := fact()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {deadline_s} s")
        time.sleep(0.02)
    return value
