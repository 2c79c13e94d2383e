"""Every error that hops_magic raises on purpose, under one root.

Each error keeps its raw arguments in ``args`` and formats them in ``__str__``, so that it survives pickling between the
kernel, the cluster and the ranks.
"""

from __future__ import annotations

import re

_END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SENTENCE_CHARS = 300


class HopsError(Exception):
    """Root of all errors of this package; its text is one sentence that says what is wrong and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: our own frames tell a user nothing."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(HopsError):
    """Bad input at a front door: shown as one line, without a traceback."""


class OptionError(UsageError):
    """An option's value breaks its rule.

    Parameters
    ----------
    field : str
        Name of the option as the user writes it.
    rule : str
        What must hold, e.g. ``"must be at least 1"``.
    value : object
        What was given; only its ``repr`` is kept.
    remedy : str
        What to do, e.g. ``"add workers with %cluster scale 8"``.
    """

    def __init__(self, field: str, rule: str, value: object = None, remedy: str = "") -> None:
        text = value if isinstance(value, str) else repr(value)
        super().__init__(field, rule, text, remedy)
        self.field, self.rule, self.value, self.remedy = field, rule, text, remedy

    def __str__(self) -> str:
        ending = f": {self.remedy}" if self.remedy else ""
        return f"{self.field} {self.rule}, got {self.value or repr(self.value)}{ending}"


class CaptureError(UsageError):
    """A name that the cell reads cannot travel to the cluster, or does not exist."""


class ClusterError(HopsError):
    """The cluster cannot be reached, started or used."""


class VersionMismatchError(ClusterError):
    """Kernel and cluster run versions that cannot talk to each other."""


class RegistryError(HopsError):
    """The registry of experiments and models cannot be read or written."""


class NotFoundError(UsageError):
    """Something was asked for by a name or id that nothing has."""


class RunError(HopsError):
    """Root of what can end a run other than success."""


class RunFailedError(RunError):
    """The run ended with an error; ``str()`` is the traceback as the notebook shows it, collapsed over ranks.

    Parameters
    ----------
    run_id : str
    message : str
        One line: the error's type and text, and which ranks raised it.
    traceback : str
        Rendered traceback of the cell, possibly empty.
    """

    def __init__(self, run_id: str, message: str, traceback: str = "") -> None:
        super().__init__(run_id, message, traceback)
        self.run_id, self.message, self.traceback = run_id, message, traceback

    def __str__(self) -> str:
        return f"{self.traceback}\n{self.message}" if self.traceback else self.message

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class RunStoppedError(RunError):
    """The run was stopped by the user before its code came to an end."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(run_id, message)
        self.run_id, self.message = run_id, message

    def __str__(self) -> str:
        return self.message


class RankLostError(RunError):
    """A rank's process or its worker died, or the rank hung.

    Parameters
    ----------
    rank : int
    reason : str
        E.g. ``"was killed by SIGKILL (memory ran out on node a)"``.
    """

    def __init__(self, rank: int, reason: str) -> None:
        super().__init__(rank, reason)
        self.rank, self.reason = rank, reason

    def __str__(self) -> str:
        return f"rank {self.rank} {self.reason}"


class CollectiveError(RunError):
    """Ranks did not call the same collectives in the same order, or a peer is gone."""


class PeerLostError(CollectiveError):
    """The other end of a collective has gone away; the supervisor knows the cause, this rank only the symptom."""


class UnsupportedError(UsageError):
    """Something that cannot be done truthfully under data parallelism, refused with what to do instead."""


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's text, or its type's name: libraries add pages of configuration."""
    try:
        text = str(error).strip()
    except Exception as broken:  # noqa: BLE001 (any library's error whose __str__ fails is still to be named)
        text = f"its text cannot be made: {type(broken).__name__}"
    if not text:
        return type(error).__name__
    sentence = _END_OF_SENTENCE.split(text.splitlines()[0], maxsplit=1)[0].rstrip(" .:")
    return sentence if len(sentence) <= _SENTENCE_CHARS else f"{sentence[: _SENTENCE_CHARS - 1]}…"


def in_a_sentence(error: Exception) -> str:
    """Return one sentence for any error: our own say all, a library's is told with its type."""
    return str(error) if isinstance(error, HopsError) else f"{type(error).__name__}: {first_sentence(error)}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and what it counts: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
