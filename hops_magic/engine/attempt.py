"""One attempt of a run: a gang of rank processes from start to the last exit."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from distributed import Worker

from hops_magic.cells.tracebacks import collapse
from hops_magic.engine.job import Job, RankSpec
from hops_magic.engine.rank_host import ask
from hops_magic.errors import HopsError
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event
from hops_magic.runs.states import RunState

ERROR_GRACE_S = 1.0
HAND_BACK_S = 60.0
"""How long rank 0 may take, after an error of its own, to hand back what its cell had bound."""
STOP_GRACE_S = 4.0
END_WITHIN_S = 2.0
"""How long a rank host may take to heed: a worker that is frozen or cut off must not keep a run from its end."""
_KILL_AGAIN_S = 0.5


class Verdict(Enum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def state(self) -> RunState:
        """State of the run, if this is its last attempt."""
        return RunState.FAILED if self is Verdict.LOST else RunState(self.value)


@dataclass(frozen=True)
class AttemptEnd:
    """Verdict and the reason that a user reads."""

    verdict: Verdict
    reason: str = ""


class Commander(Protocol):
    """Who makes an attempt: the supervisor of a run, or a study for one of its trials."""

    job: Job
    worker: Worker
    token: bytes
    stop_reason: str

    def say(self, event: Event) -> None:
        """Take an event of the attempt's own."""
        ...

    def keep_result(self, rank: dict[str, Any], ready: ev.ResultReady) -> dict[str, str]:
        """Describe where the rank at a place left its values."""
        ...


class Attempt:
    """Starts the ranks of a gang, and waits for what becomes of them.

    Parameters
    ----------
    supervisor
        Who makes the attempt.
    number
        0 for the first.
    gang
        Where each rank has its slots, as placement described it.
    stop_grace_s
        How long ranks have to end by themselves when they are told to stop.
    """

    def __init__(
        self, supervisor: Commander, number: int, gang: list[dict[str, Any]], stop_grace_s: float = STOP_GRACE_S
    ) -> None:
        self.supervisor, self.number, self.gang = supervisor, number, gang
        self._stop_grace_s = stop_grace_s
        self.result: dict[str, str] = {}
        self._alive = set(range(len(gang)))
        self._errors: list[ev.RankError] = []
        self._lost = ""
        self._said_hello: set[int] = set()
        self._changed = asyncio.Event()

    # -- what happens ------------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take what a rank of this attempt says."""
        if isinstance(event, ev.RankStarted):
            self._said_hello.add(event.rank)
            if len(self._said_hello) == len(self.gang):
                self.supervisor.say(ev.StateChanged(at=event.at, state=RunState.RUNNING))
        elif isinstance(event, ev.RankError):
            self._errors.append(event)
        elif isinstance(event, ev.ResultReady):
            self.result = self.supervisor.keep_result(self.gang[0], event)
        elif isinstance(event, ev.RankExited):
            self._alive.discard(event.rank)
            explained = any(error.rank == event.rank for error in self._errors)
            if event.code != 0 and not explained and not self._lost:
                self._lost = f"rank {event.rank} {event.reason}"
        else:
            return
        self._changed.set()

    def on_worker_lost(self, worker: str) -> None:
        """Take note that a worker died, and with it the ranks that it hosted."""
        gone = {rank for rank, place in enumerate(self.gang) if place["worker"] == worker}
        if gone & self._alive:
            ranks = ", ".join(map(str, sorted(gone)))
            self._lost = self._lost or f"worker {worker} died with rank {ranks}"
            self._alive -= gone
            self._changed.set()

    # -- what is done ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, deadline: float | None) -> AttemptEnd:
        """Start the ranks and return how the attempt ended, when no process of it is left."""
        try:
            has_begun = await self._begin(stop, deadline)
        except OSError as error:
            has_begun, self._lost = True, self._lost or f"a worker could not be reached: {error}"
        if has_begun:
            stopping = asyncio.create_task(self._stop_when(stop))
            try:
                end = await self._follow(stop, deadline)
            finally:
                stopping.cancel()
        elif stop.is_set():
            end = AttemptEnd(Verdict.STOPPED, self.supervisor.stop_reason)
        else:
            end = self._timed_out()
        await self._end_ranks(end.reason or "the run has ended")
        return end

    async def _begin(self, stop: asyncio.Event, deadline: float | None) -> bool:
        """Start the ranks; False if the attempt is over while the data that they need are still on their way."""
        spawning = asyncio.create_task(self._spawn())
        stopped = asyncio.create_task(stop.wait())
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            await asyncio.wait({spawning, stopped}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not spawning.done():
                # ranks that come up now end by themselves, and hand back what they have
                await asyncio.wait({spawning}, timeout=self._stop_grace_s)
            if spawning.done():
                spawning.result()
                return True
            give_up_at = time.monotonic() + 2 * END_WITHIN_S
            while not spawning.done() and time.monotonic() < give_up_at:
                # again, for a host that had not heard of its rank yet
                await self._end_on(self._workers(range(len(self.gang))), "the run ended before its data had come")
                await asyncio.wait({spawning}, timeout=_KILL_AGAIN_S)
            if spawning.done():
                with contextlib.suppress(HopsError, OSError):
                    spawning.result()
            return False
        finally:
            stopped.cancel()
            spawning.cancel()

    async def _spawn(self) -> None:
        run_id = self.supervisor.job.run_id
        hosts = {place["host"] for place in self.gang}
        addresses: list[Any] = [None]
        if len(self.gang) > 1:
            addresses = await asyncio.gather(
                *(
                    self._ask(
                        place["worker"],
                        "prepare",
                        run_id=run_id,
                        attempt=self.number,
                        rank=rank,
                        across_hosts=len(hosts) > 1,
                    )
                    for rank, place in enumerate(self.gang)
                )
            )
        await asyncio.gather(
            *(
                self._ask(
                    place["worker"],
                    "spawn",
                    supervisor=self.supervisor.worker.address,
                    spec=self._spec(rank, addresses, across=len(hosts) > 1),
                )
                for rank, place in enumerate(self.gang)
            )
        )

    def _spec(self, rank: int, addresses: list[Any], *, across: bool) -> bytes:
        job, place = self.supervisor.job, self.gang[rank]
        return RankSpec(
            job=replace(job, open_recorder=None),
            attempt=self.number,
            rank=rank,
            threads=job.options.threads_per_rank or place["threads"],
            gpus=() if job.options.gpus_per_rank == 0 else tuple(place["gpus"]),
            addresses=tuple(tuple(a) if isinstance(a, list) else a for a in addresses),
            token=self.supervisor.token,
            buffer_dir=place["node_dir"],
            run_dir=str(job.home),
            security=self.supervisor.worker.security if across else None,
        ).pickled()

    async def _follow(self, stop: asyncio.Event, deadline: float | None) -> AttemptEnd:
        """Wait until all is over, or until waiting makes no sense any more."""
        while self._alive and not self._errors and not self._lost:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return self._timed_out()
            await self._wait(left)
        if self._errors:
            return await self._judge_errors(stop, deadline)
        if self._lost:
            if stop.is_set():
                return AttemptEnd(Verdict.STOPPED, self.supervisor.stop_reason)
            return AttemptEnd(Verdict.LOST, self._lost)
        return AttemptEnd(Verdict.STOPPED if stop.is_set() else Verdict.DONE, self.supervisor.stop_reason)

    def _timed_out(self) -> AttemptEnd:
        return AttemptEnd(Verdict.FAILED, f"ended by --timeout {self.supervisor.job.options.timeout:g}")

    async def _judge_errors(self, stop: asyncio.Event, deadline: float | None) -> AttemptEnd:
        # the other ranks are about to say the same error, or that they lost a peer: hear them out for a moment
        until = time.monotonic() + ERROR_GRACE_S
        while self._alive and time.monotonic() < until:
            await self._wait(until - time.monotonic())
        causes = [error for error in self._errors if not error.is_peer_loss]
        until = min(until + HAND_BACK_S, deadline or math.inf)
        hands_back = self.supervisor.job.trial is None and any(error.rank == 0 for error in causes)
        while hands_back and 0 in self._alive and time.monotonic() < until:
            await self._wait(until - time.monotonic())
        if stop.is_set():
            return AttemptEnd(Verdict.STOPPED, self.supervisor.stop_reason)
        if not causes:
            # every error is a symptom: the cause is a process that is gone, which its host will name
            return AttemptEnd(Verdict.LOST, self._lost or self._errors[0].message)
        return AttemptEnd(Verdict.FAILED, collapse(causes).message)

    async def _stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        if self._stop_grace_s > 0:
            run_id = self.supervisor.job.run_id
            workers = self._workers(range(len(self.gang)))
            kill_at = time.monotonic() + self._stop_grace_s
            calls = (self._soon(worker, "tell", run_id=run_id, command={"stop": True}) for worker in workers)
            # a worker that is just dying must not keep the others from being told
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(kill_at - time.monotonic())
        await self._kill("did not stop in time")

    async def _end_ranks(self, reason: str) -> None:
        if self._alive:
            await self._kill(reason)
        while self._alive and await self._wait(2.0):
            pass

    async def _kill(self, reason: str) -> None:
        workers = self._workers(self._alive)
        # a worker that cannot be reached has died, and its ranks with it
        for worker, told in zip(workers, await self._end_on(workers, reason), strict=True):
            if not isinstance(told, BaseException):
                # of a rank that its host does not know nothing will ever be heard
                self._alive -= {rank for rank, place in enumerate(self.gang) if place["worker"] == worker} - set(told)
        self._changed.set()

    async def _end_on(self, workers: list[str], reason: str) -> list[Any]:
        calls = (self._soon(worker, "end", run_id=self.supervisor.job.run_id, reason=reason) for worker in workers)
        return await asyncio.gather(*calls, return_exceptions=True)

    def _workers(self, ranks: Iterable[int]) -> list[str]:
        return sorted({self.gang[rank]["worker"] for rank in ranks})

    async def _ask(self, address: str, what: str, **message: Any) -> Any:
        return await ask(self.supervisor.worker, address, what, **message)

    async def _soon(self, address: str, what: str, **message: Any) -> Any:
        return await asyncio.wait_for(self._ask(address, what, **message), END_WITHIN_S)

    async def _wait(self, timeout_s: float | None) -> bool:
        """Wait for the next thing to happen; False if nothing did."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        self._changed.clear()
        return True
