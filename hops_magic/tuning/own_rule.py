"""A stopping rule of the user's own: whatever it does ends the study with a sentence, not its host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hops_magic.errors import UsageError

if TYPE_CHECKING:
    from hops_magic.runs.states import TrialState
    from hops_magic.tuning.stopping import Rule


class OwnRule:
    """Passes on what a rule is told, and its decision if that is one."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take a report; return why the trial is to be stopped, empty for it to go on.

        Raises
        ------
        UsageError
            If the rule fails, or returns something else.
        """
        with _failures():
            reason: object = self.rule.report(trial, step, loss)
        if reason is not None and not isinstance(reason, str):
            raise UsageError(
                "the stopping rule must return why a trial is stopped, as a text, or nothing for it to go on, "
                f"got {reason!r:.80}"
            )
        return reason or ""

    def ended(self, trial: int, state: TrialState) -> None:
        """Take note that a trial is over.

        Raises
        ------
        UsageError
            If the rule fails.
        """
        with _failures():
            self.rule.ended(trial, state)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    # an exit of the user's rule, too, would end the loop of the worker that conducts the study
    except BaseException as error:
        raise UsageError(f"the stopping rule failed: {type(error).__name__}: {error}") from error
