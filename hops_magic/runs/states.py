"""States of a run, which answer questions about themselves."""

from __future__ import annotations

from enum import Enum

STOPPED_BY_USER = "stopped by the user"
"""Why a run, study or trial ended whose user said so, in a view or by the API."""
INTERRUPTED = "interrupted"
"""Why one ended whose user interrupted the cell that follows it."""


class RunState(Enum):
    """Where a run stands.

    ``SUBMITTED -> QUEUED -> STARTING -> RUNNING -> (RESTARTING -> STARTING ...) -> one final state``; ``STOPPING`` lies
    between a request to stop and ``STOPPED``.
    """

    SUBMITTED = "submitted"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self in (RunState.DONE, RunState.FAILED, RunState.STOPPED)

    @property
    def is_waiting(self) -> bool:
        """Whether the run has no processes yet."""
        return self in (RunState.SUBMITTED, RunState.QUEUED)

    def may_become(self, state: RunState) -> bool:
        """Whether a run may pass to a state: from a stop that was asked for, only to its end."""
        return not self.is_final and (self is not RunState.STOPPING or state.is_final)

    @property
    def can_stop(self) -> bool:
        """Whether asking for a stop makes sense."""
        return not self.is_final and self is not RunState.STOPPING


class TrialState(Enum):
    """Where a trial of a study stands. A stopped trial was ended early by a rule or the user; its last value counts."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the trial."""
        return self is not TrialState.RUNNING
