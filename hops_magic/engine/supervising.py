"""The Dask task behind a run or a study: a supervisor in the event loop of a worker, as long as that worker stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Protocol

from distributed import Reschedule, Worker, get_worker, secede
from distributed.comm import CommClosedError
from distributed.core import Status

from hops_magic.engine.rank_host import RankHost, rank_host


class Conductor(Protocol):
    """A supervisor, from where it takes over to where its run is recorded."""

    async def run(self) -> None:
        """Supervise to the end."""
        ...


def conduct(make: Callable[[Worker, RankHost], Conductor]) -> None:
    """Supervise until the run is over; call it in a task of Dask's.

    Raises
    ------
    Reschedule
        If the worker leaves the cluster before that: Dask runs the task again elsewhere.
    """
    secede()  # a supervisor waits, it does not compute: it must not take a thread from others
    worker = get_worker()
    future = asyncio.run_coroutine_threadsafe(make(worker, rank_host(worker)).run(), worker.loop.asyncio_loop)
    try:
        future.result()
    except (CancelledError, CommClosedError) as error:
        # it was told to leave, or has lost the scheduler, after which Dask ends the worker
        raise Reschedule from error
    except RuntimeError as error:
        if is_leaving(worker):
            raise Reschedule from error
        raise


def is_leaving(worker: Worker) -> bool:
    """Whether a worker is on its way out of the cluster, so that what fails on it is no fault of a run's."""
    return worker.status not in (Status.running, Status.paused, Status.closing_gracefully)


class Leaving:
    """Ends a supervisor whose worker leaves, or whose run another one has taken over: it must not say or do more.

    Belongs to the worker's event loop.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Take note of the running task as that of the supervisor."""
        self._task = asyncio.current_task()

    def leave(self) -> None:
        """Cancel the supervisor where it waits."""
        self.is_over = True
        if self._task is not None:
            self._task.cancel()
