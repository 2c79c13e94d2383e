"""Placement on the scheduler: gangs of slots, and where each run's supervisor and newest summary are.

The plugin lives in the scheduler's event loop, which is single-threaded: each handler is atomic.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from hops_magic.engine.gangs import Gangs, Request, Slots, owner
from hops_magic.runs.events import Event, Queued, StateChanged, Wire, to_wire
from hops_magic.runs.states import RunState

logger = logging.getLogger(__name__)

TASK_PREFIX = "hops-run-"
TOPIC_PREFIX = "hops-run-"
KEEP_FINISHED = 200
RETURN_WITHIN_S = 15.0
"""How long a worker that died may take to be started again by its nanny."""
STOP_HEARD_WITHIN_S = 7.0
"""How long a supervisor may take to take note of a stop, before the run is ended without it."""
_ASK_AGAIN_S = 1.0
_ALL_DIED = "every worker of the cluster has died: it goes on when one is back"


@dataclass
class _Entry:
    """What the scheduler knows of a run."""

    info: dict[str, Any]
    task: str = ""
    """Dask's key of the supervisor's task."""
    supervisor: str = ""
    term: int = 0
    """How many supervisors it has had: an earlier one that still lives is not heard."""
    sequence: int = 0
    """Number of the newest event in ``snapshot``."""
    last: int = 0
    """Number of the newest event published."""
    snapshot: bytes = b""
    result: dict[str, str] = field(default_factory=dict)
    """Where rank 0 left its values, once the run is final."""
    state: RunState = RunState.SUBMITTED
    is_final: bool = False
    is_collected: bool = False
    is_recorded: bool = True
    """Whether nobody writes the record of a final run any more."""
    stop_reason: str = ""
    """Why it is to stop, once that has been asked for."""
    changed_at: float = 0.0


class Placement(SchedulerPlugin):
    """Handlers for supervisors (``hops_register``, ``hops_reserve`` ...), rank hosts and viewers."""

    name = "hops-placement"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.gangs = Gangs()
        self.runs: dict[str, _Entry] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self._lost_at: list[float] = []
        for op in (
            "worker",
            "register",
            "reserve",
            "pass_on",
            "release",
            "publish",
            "stop",
            "abandon",
            "command",
            "state",
            "snapshot",
            "last",
            "submitted",
            "collected",
            "recorded",
            "forget",
        ):
            scheduler.handlers[f"hops_{op}"] = getattr(self, f"on_{op}")

    # -- rank hosts ----------------------------------------------------------------------------------------------

    def on_worker(self, address: str, host: str, slots: int, gpus: list[str], threads: int, node_dir: str) -> str:
        """Take note of what a worker offers, and which folder it keeps for its node."""
        self.nodes[address] = {"host": host, "node_dir": node_dir}
        del self._lost_at[:1]
        self._notify_granted(
            self.gangs.add(Slots(worker=address, host=host, count=slots, gpus=tuple(gpus), threads=threads))
        )
        return "OK"

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Tell the runs that held a slot of a worker which is gone."""
        if self.nodes.pop(worker, None) is not None and not _is_expected(scheduler, worker):
            self._lost_at.append(time.monotonic())
        for run_id, entry in self.runs.items():
            if entry.supervisor == worker and not entry.is_final:
                self._supervisor_lost(run_id, entry)
        for run_id in self.gangs.remove(worker):
            self._notify(run_id, {"what": "worker-lost", "worker": worker})

    def _supervisor_lost(self, run_id: str, entry: _Entry) -> None:
        if entry.task not in self.scheduler.tasks:
            # nobody wants its outcome any more, so Dask will not run it again elsewhere
            self._end_unsupervised(run_id, "its supervisor's worker died")
        elif entry.stop_reason:
            self._in_background(self._see_to_stop, run_id, entry)
        elif not self.scheduler.workers:
            self._say(run_id, entry, StateChanged(at=time.time(), state=RunState.RESTARTING, reason=_ALL_DIED))

    # -- supervisors ---------------------------------------------------------------------------------------------

    def on_submitted(self, run_id: str, info: dict[str, Any], snapshot: bytes, task: str) -> str:
        """Make a run known before its supervisor has started, by its summary at the beginning."""
        self.runs[run_id] = _Entry(info=info, task=task, snapshot=snapshot, changed_at=time.time())
        self._drop_old()
        return "OK"

    def on_register(self, run_id: str, supervisor: str, info: dict[str, Any]) -> dict[str, Any]:
        """Make a supervisor known; it learns what an earlier one on a lost worker left."""
        entry = self.runs.setdefault(run_id, _Entry(info=info))
        entry.supervisor, entry.term = supervisor, entry.term + 1
        if task := self.scheduler.tasks.get(entry.task):
            # it came up, so it was not what killed the workers that it was on: Dask must not give it up for their deaths
            task.suspicious = 0
        self._notify_granted(self.gangs.release(run_id))
        # numbers that were given out since the snapshot are not given out again
        left = {"sequence": max(entry.sequence, entry.last), "snapshot": entry.snapshot}
        return {**left, "term": entry.term, "stop": entry.stop_reason, "is_final": entry.is_final}

    def on_reserve(self, run_id: str, ranks: int, slots_per_rank: int = 1) -> dict[str, Any]:
        """Ask for a gang: ``{"gang": ...}`` at once, or a place in the queue and a notice later."""
        return self._answered(run_id, self.gangs.reserve(Request(run_id=run_id, ranks=ranks, slots_per_rank=slots_per_rank)))

    def on_pass_on(self, run_id: str, ranks: int, slots_per_rank: int = 1) -> dict[str, Any]:
        """Let other runs have a study's place if any waits; answers as :meth:`on_reserve` does."""
        granted = self.gangs.pass_on(Request(run_id=run_id, ranks=ranks, slots_per_rank=slots_per_rank))
        return self._answered(run_id, granted)

    def on_release(self, run_id: str, term: int | None = None) -> str:
        """Give back a run's slots or its place in the queue."""
        entry = self.runs.get(owner(run_id))
        if entry is not None and term not in (None, entry.term):
            return "superseded"
        self._notify_granted(self.gangs.release(run_id))
        return "OK"

    def on_publish(
        self,
        run_id: str,
        sequence: int,
        events: list[Any],
        snapshot: bytes,
        result: dict[str, str] | None = None,
        is_recorded: bool = True,
        term: int | None = None,
    ) -> str:
        """Pass numbered events on to viewers, and keep the newest summary for those that come later.

        A ``result``, even an empty one, says that the run is final; its record may go on being written.
        """
        entry = self.runs.get(run_id)
        if entry is None:
            return "unknown"
        if term not in (None, entry.term):
            return "superseded"
        if events:
            self.scheduler.log_event(TOPIC_PREFIX + run_id, {"n": sequence - len(events), "events": events})
        for wire in events:
            entry.state = _state_after(entry.state, wire)
        entry.last = max(entry.last, sequence)
        entry.changed_at = time.time()
        if result is not None:
            entry.is_final, entry.result, entry.is_recorded = True, result, is_recorded
        if snapshot:
            entry.sequence, entry.snapshot = sequence, snapshot
        return "OK"

    # -- viewers -------------------------------------------------------------------------------------------------

    async def on_stop(self, run_id: str, reason: str) -> str:
        """Ask a run's supervisor to stop it; one that does not hear of it cannot keep the run from ending."""
        entry = self.runs.get(run_id)
        if entry is None:
            return "unknown"
        if not entry.is_final:
            entry.stop_reason = reason
            self._in_background(self._see_to_stop, run_id, entry)
        return "OK"

    async def on_abandon(self, run_id: str, reason: str) -> str:
        """End a run whose start was broken off; its task may still be on its way to the scheduler."""
        entry = self.runs.get(run_id)
        if entry is not None and entry.supervisor:
            return await self.on_stop(run_id, reason)
        # a supervisor that comes after all finds its run final
        self._end_unsupervised(run_id, reason, RunState.STOPPED)
        return "OK"

    def on_command(self, run_id: str, notice: dict[str, Any]) -> str:
        """Pass a viewer's wish on to a run's supervisor."""
        self._notify(run_id, notice)
        return "OK"

    def on_snapshot(self, run_id: str) -> dict[str, Any] | None:
        """Return a run's newest summary, with the number of the event it includes last."""
        entry = self.runs.get(run_id)
        if entry is None:
            return None
        return {
            "info": entry.info,
            "sequence": entry.sequence,
            "snapshot": entry.snapshot,
            "is_final": entry.is_final,
            "result": entry.result,
            "supervisor": entry.supervisor,
        }

    def on_last(self, run_id: str) -> int:
        """Return the number of the event that a run said last, 0 of one that is not known."""
        entry = self.runs.get(run_id)
        return 0 if entry is None else entry.last

    def on_state(self) -> dict[str, Any]:
        """Return slots, gangs, queue and runs for tables."""
        return {
            "slots": {address: slots.count for address, slots in self.gangs.workers.items()},
            "gpus": {address: list(slots.gpus) for address, slots in self.gangs.workers.items()},
            "nodes": self.nodes,
            "coming": self._coming(),
            "held": {run_id: [list(rank) for rank in gang] for run_id, gang in self.gangs.held.items()},
            "queue": [[request.run_id, request.slots] for request in self.gangs.queue],
            "runs": {
                run_id: {
                    **entry.info,
                    "state": entry.state.value,
                    "is_final": entry.is_final,
                    "is_recorded": entry.is_recorded,
                    "is_completing": not entry.is_recorded and entry.supervisor in self.scheduler.workers,
                    "has_values": bool(entry.result) and not entry.is_collected,
                    "changed_at": entry.changed_at,
                }
                for run_id, entry in self.runs.items()
            },
        }

    def on_recorded(self, run_id: str) -> str:
        """Take note that the record of a run that had ended is whole."""
        if entry := self.runs.get(run_id):
            entry.is_recorded = True
        return "OK"

    def on_collected(self, run_id: str) -> str:
        """Take note that a run's values have been brought back."""
        if entry := self.runs.get(run_id):
            entry.is_collected = True
        return "OK"

    def on_forget(self, run_id: str) -> str:
        """Drop all that is known of a run, when nobody will ask again."""
        self.runs.pop(run_id, None)
        self._notify_granted(self.gangs.release(run_id))
        self.scheduler._broker.truncate(TOPIC_PREFIX + run_id)
        return "OK"

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Let supervisors go to any worker, and free the slots of a run whose supervisor will not come back."""
        if not isinstance(key, str) or not key.startswith(TASK_PREFIX):
            return
        if finish in ("processing", "no-worker"):
            # the worker that was wished for may die: Dask would keep a task that no worker can take for that address alone
            self.scheduler.set_restrictions({key: None})
        elif finish in ("erred", "forgotten"):
            self._supervisor_gone(key, erred=finish == "erred")

    def _supervisor_gone(self, task: str, *, erred: bool) -> None:
        run_id = owner(task.removeprefix(TASK_PREFIX))
        entry = self.runs.get(run_id)
        if entry is not None and entry.task != task:
            return  # the study has been continued since, by another supervisor
        if erred:
            again = "its supervisor's workers died again and again"
            self._end_unsupervised(run_id, again if self.scheduler.workers else "every worker died, and none came back")
        elif entry is None or entry.supervisor not in self.scheduler.workers:
            self._end_unsupervised(run_id, "nobody waited for it before it began")
        elif entry.is_final:
            self._notify_granted(self.gangs.release(run_id))
        # else nobody waits for its outcome, but the supervisor goes on, and its ranks hold their slots

    def _end_unsupervised(self, run_id: str, reason: str, state: RunState = RunState.FAILED) -> None:
        entry = self.runs.get(run_id)
        if entry is not None and not entry.is_final:
            self._say(run_id, entry, StateChanged(at=time.time(), state=state, reason=reason), result={})
        self._notify_granted(self.gangs.release(run_id))

    async def _see_to_stop(self, run_id: str, entry: _Entry) -> None:
        """Tell a run's supervisor to stop it until it says that it does; end the run if there is none that does."""
        ends = time.monotonic() + STOP_HEARD_WITHIN_S
        # without any worker nothing of the run is left, and no supervisor may ever come
        while self.scheduler.workers and time.monotonic() < ends:
            if entry.is_final or (entry.state is RunState.STOPPING and entry.supervisor in self.scheduler.workers):
                return
            self._notify(run_id, {"what": "stop", "reason": entry.stop_reason})
            await asyncio.sleep(_ASK_AGAIN_S)
        if not entry.is_final:
            self._end_unsupervised(run_id, entry.stop_reason, RunState.STOPPED)
            await self.scheduler.broadcast(
                msg={"op": "hops_end", "run_id": run_id, "reason": entry.stop_reason}, on_error="ignore"
            )

    def _say(self, run_id: str, entry: _Entry, event: Event, result: dict[str, str] | None = None) -> None:
        """Tell a run's viewers what its supervisor cannot tell."""
        self.on_publish(run_id, entry.last + 1, [to_wire(event)], b"", result=result)

    def _in_background(self, what: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        self.scheduler._ongoing_background_tasks.call_soon(what, *args)

    def _coming(self) -> int:
        """Count the workers that are about to offer slots: those that are new, and those that are started again."""
        self._lost_at = [at for at in self._lost_at if time.monotonic() - at < RETURN_WITHIN_S]
        return sum(address not in self.nodes for address in self.scheduler.workers) + len(self._lost_at)

    def _answered(self, run_id: str, granted: list[str]) -> dict[str, Any]:
        self._notify_granted([other for other in granted if other != run_id])
        return self._standing(run_id)

    def _standing(self, run_id: str) -> dict[str, Any]:
        gang = self.gangs.held.get(run_id)
        if gang is None:
            return {
                "position": self.gangs.position(run_id),
                "free": sum(self.gangs.free().values()),
                "total": self.gangs.total,
            }
        used: dict[str, int] = {}
        ranks = []
        for workers in gang:
            if any(address not in self.gangs.workers for address in workers):
                return {"lost": True}
            slots = [self.gangs.workers[address] for address in workers]
            gpus = []
            for slot in slots:
                if slot.gpus:
                    gpus.append(slot.gpus[used.get(slot.worker, 0) % len(slot.gpus)])
                    used[slot.worker] = used.get(slot.worker, 0) + 1
            threads = max(1, sum(slot.threads // max(1, slot.count) for slot in slots))
            place = {"worker": workers[0], "host": slots[0].host, "node_dir": self.nodes[workers[0]]["node_dir"]}
            ranks.append({**place, "gpus": gpus, "threads": threads})
        return {"gang": ranks}

    def _notify_granted(self, granted: list[str]) -> None:
        for run_id in granted:
            self._notify(run_id, {"what": "granted", **self._standing(run_id)})
        for request in self.gangs.queue if granted else ():
            self._notify(request.run_id, {"what": "queued", **self._standing(request.run_id)})

    def _notify(self, run_id: str, notice: dict[str, Any]) -> None:
        entry = self.runs.get(owner(run_id))
        if entry is not None and entry.supervisor in self.scheduler.workers:
            notice = {**notice, "place": run_id}
            self._in_background(self._send, entry.supervisor, owner(run_id), notice)

    async def _send(self, supervisor: str, run_id: str, notice: dict[str, Any]) -> None:
        try:
            answer: Awaitable[Any] = self.scheduler.rpc(supervisor).hops_notice(run_id=run_id, notice=notice)
            await answer
        except OSError:
            # its worker is dying: Dask runs the supervisor again elsewhere, where it registers anew
            logger.info("the supervisor of run %s on %s cannot be reached", run_id, supervisor)

    def _drop_old(self) -> None:
        finished = [run_id for run_id, entry in self.runs.items() if entry.is_final]
        for run_id in finished[:-KEEP_FINISHED]:
            self.on_forget(run_id)


def _is_expected(scheduler: Scheduler, worker: str) -> bool:
    """Whether a worker that is removed was retired; one that died is started again by its nanny."""
    told = (event for _, event in reversed(scheduler.get_events("all")) if event.get("action") == "remove-worker")
    return next((bool(event["expected"]) for event in told if event.get("worker") == worker), False)


def _state_after(state: RunState, wire: Wire) -> RunState:
    if wire["kind"] not in (StateChanged.kind, Queued.kind):
        return state
    told = RunState(wire["state"]) if wire["kind"] == StateChanged.kind else RunState.QUEUED
    return told if state.may_become(told) else state
