"""What has changed, numbered: so that a viewer that was away knows what to ask anew."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable

from hops_magic.api.routing import Payload

KEPT = 2_000
LISTENED_S = 90.0

Listener = Callable[["Changed"], None]


class Changed(Payload):
    """Something is no longer what it was.

    Attributes
    ----------
    boot : str
        Of the process that counts; numbers of another mean nothing.
    seq : int
        Number of the change.
    topics : list of str
        ``features``, ``runs``, ``run/ID``, ``models`` or ``cluster``.
    """

    boot: str
    seq: int
    topics: list[str]


class Missed(Payload):
    """What a viewer has missed.

    Attributes
    ----------
    reset : bool
        Whether nobody knows, so that all must be asked for anew.
    """

    boot: str
    seq: int
    reset: bool
    topics: list[str]


class Attention:
    """Whether somebody has asked for anything of late; threads may share it.

    Parameters
    ----------
    clock : callable
        Seconds that only go forward. Making one counts as having asked.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noted_at = clock()

    @property
    def is_paid(self) -> bool:
        """Whether the last question is not long ago."""
        return self._clock() - self._noted_at < LISTENED_S

    def note(self) -> None:
        """Note that somebody asks."""
        self._noted_at = self._clock()


class Changes:
    """Counts changes and tells them; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.boot = uuid.uuid4().hex[:12]
        self.clock = clock
        self._seq = 0
        self._kept: deque[Changed] = deque(maxlen=KEPT)
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._attention = Attention(clock)

    @property
    def is_heard(self) -> bool:
        """Whether a viewer has asked for anything of late, so that looking for changes is worth the while."""
        return self._attention.is_paid

    def hear(self) -> None:
        """Note that a viewer is there."""
        self._attention.note()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call back at each change, from whatever thread noticed it; what is returned ends that."""
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return leave

    def say(self, topics: Iterable[str]) -> None:
        """Tell that things have changed."""
        told = sorted(set(topics))
        if not told:
            return
        # told in the order of the numbers: a viewer that misses one asks
        with self._lock:
            self._seq += 1
            changed = Changed(boot=self.boot, seq=self._seq, topics=told)
            self._kept.append(changed)
            for listener in self._listeners:
                listener(changed)

    def since(self, boot: str, seq: int) -> Missed:
        """Return what came after a number."""
        with self._lock:
            first = self._kept[0].seq if self._kept else self._seq + 1
            if boot != self.boot or seq > self._seq or seq + 1 < first:
                return Missed(boot=self.boot, seq=self._seq, reset=True, topics=[])
            topics = sorted({topic for changed in self._kept if changed.seq > seq for topic in changed.topics})
            return Missed(boot=self.boot, seq=self._seq, reset=False, topics=topics)
