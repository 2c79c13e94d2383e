"""What a rank's process does, from the fork to its exit code. Imported by the warm process: no heavy import here."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from hops_magic.cells.program import Outcome, Program, Taken, execute
from hops_magic.cells.results import Packed, Watch, pack
from hops_magic.cells.tracebacks import describe_error
from hops_magic.engine import frames
from hops_magic.engine.buffers import map_buffer
from hops_magic.engine.handing_back import Hander
from hops_magic.engine.job import RankSpec
from hops_magic.engine.journal import JOURNAL_NAME
from hops_magic.errors import PeerLostError, first_sentence
from hops_magic.frameworks import fingerprint, framework, reducers
from hops_magic.frameworks.ablating import ablating
from hops_magic.frameworks.asking import no_questions
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.context import RankContext, enter_process
from hops_magic.frameworks.display import capture_display
from hops_magic.frameworks.forks import end_if_forked
from hops_magic.frameworks.rendezvous import connect_ring
from hops_magic.frameworks.ring import Alone
from hops_magic.frameworks.same_file import same_files_named
from hops_magic.frameworks.stopping import StopRequested
from hops_magic.runs import events as ev
from hops_magic.runs.events import Event, Wire
from hops_magic.runs.numbers import as_number

JOIN_TIMEOUT_S = 60.0
BEAT_S = 0.5
BATCH_S = 0.02
MOST_UNSENT = 5_000

_NO_COMMON_HOME = (
    "the machines of this run have no HOPS_HOME in common: checkpoints and the model stay where rank 0 runs, "
    "and a restart on another machine begins anew"
)

EXIT_OK, EXIT_ERROR, EXIT_ORPHAN = 0, 1, 9


class Line:
    """The rank's connection to its host: events and heartbeats out, commands in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._news = threading.Condition()
        self._queue: list[Wire] = []
        self._closing = self._is_silent = False
        self.stop_requested = threading.Event()
        self._speaker = threading.Thread(target=self._speak, name="hops-events", daemon=True)

    def receive_start(self) -> tuple[RankSpec, socket.socket | None]:
        """Read the listening socket, if there is one, and the description of the rank."""
        _, descriptors, _, _ = socket.recv_fds(self._sock, 1, 1)
        spec = frames.receive(self._sock)
        if spec is None:
            os._exit(EXIT_ORPHAN)
        return pickle.loads(spec), socket.socket(fileno=descriptors[0]) if descriptors else None

    def open(self) -> None:
        """Start to speak and to listen."""
        self._speaker.start()
        os.register_at_fork(after_in_child=self._fall_silent)
        threading.Thread(target=self._listen, name="hops-commands", daemon=True).start()

    def emit(self, event: Event) -> None:
        """Queue an event; waits only while more has been said than can be carried away."""
        if not event.at:
            event = replace(event, at=time.time())
        self.say(ev.to_wire(event))

    def say(self, wire: Wire) -> None:
        """Queue a message for the host, as :meth:`emit` does."""
        if self._is_silent:
            return
        with self._news:
            self._queue.append(wire)
            if len(self._queue) == 1:
                self._news.notify_all()
            self._news.wait_for(lambda: len(self._queue) < MOST_UNSENT or self._closing)

    def close(self) -> None:
        """Say all that is queued, then hang up."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._speaker.join(10)
        self._sock.close()

    def _fall_silent(self) -> None:
        """Say nothing of a process that the rank has forked, in which no thread is left that could hold a lock."""
        self._news, self._queue = threading.Condition(), []
        self._is_silent = True

    def _speak(self) -> None:
        while True:
            with self._news:
                if not self._queue and not self._closing:
                    self._news.wait(BEAT_S)
                batch, self._queue, closing = self._queue, [], self._closing
                if len(batch) >= MOST_UNSENT:
                    self._news.notify_all()
            try:
                # an empty batch is a heartbeat
                self._sock.sendall(frames.frame(json.dumps(batch, default=str).encode()))
            except OSError:
                os._exit(EXIT_ORPHAN)
            if closing and not self._queue:
                return
            if batch:
                with self._news:
                    # events of the next moment travel together; the last ones need not wait for others
                    self._news.wait_for(lambda: self._closing, BATCH_S)

    def _listen(self) -> None:
        try:
            while (message := frames.receive(self._sock)) is not None:
                if json.loads(message).get("stop"):
                    self.stop_requested.set()
        except OSError:
            pass
        if not self._closing:
            os._exit(EXIT_ORPHAN)  # the worker is gone: nobody waits for this rank


def main(control: socket.socket) -> int:
    """Be a rank; return the exit code."""
    line = Line(control)
    spec, listener = line.receive_start()
    os.environ.update(spec.environment())
    line.open()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(_work_folder(spec))
    try:
        return _run(spec, line, listener)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        line.close()


def _run(spec: RankSpec, line: Line, listener: socket.socket | None) -> int:
    told: list[BaseException] = []
    me = os.getpid()
    try:
        with ExitStack() as stack:
            collective = _join(spec, listener)
            context = _context(spec, line, collective)
            enter_process(context)
            warn_without_common_home(spec, line.emit)
            stack.enter_context(capture_display(line.emit, spec.rank))
            stack.enter_context(no_questions())
            stack.enter_context(same_files_named(context))
            # the package's front stands above the engine: cells get it, the engine does not use it
            hops = sys.modules["hops_magic"]
            trial = spec.job.trial
            ablation = stack.enter_context(ablating(trial.ablation if trial else None))
            extra = {"hops": hops, **stack.enter_context(framework(spec.job.framework).session(context))}
            extra |= trial.values if trial else {}
            extra |= ablation.flag_values() if ablation else {}
            hands_back = spec.rank == 0 and (trial is None or trial.keeps)
            # only rank 0 hands values back, and only it need know what the cell changed
            watch = Watch(reducers(), fingerprint) if hands_back and spec.job.program.out is None else None

            def before(taken: Taken) -> None:
                if watch is not None:
                    watch.begin(taken)
                if ablation is not None:
                    ablation.drop_columns(taken.namespace)

            def after_error(raised: BaseException, outcome: Outcome) -> None:
                end_if_forked(me)
                if not hands_back or spec.job.trial is not None or _is_peer_loss(raised):
                    return
                if not _ends_quietly(raised):
                    # first the error: peers need not wait until all is packed to be told
                    line.emit(_describe(raised, spec))
                    told.append(raised)
                _hand_back_after_error(spec, outcome, watch, line)

            outcome = execute(
                spec.job.program, open_buffer=_opener(spec), extra=extra, before=before, after_error=after_error
            )
            end_if_forked(me)
            if trial and spec.rank == 0:
                line.emit(_returned(outcome, tuple(ablation.reached) if ablation else ()))
            if hands_back:
                _hand_back(spec, outcome, watch, line)
        # peers that still wait for this rank learn that it finished; after an error the closed connection tells them
        collective.close()
        return EXIT_OK
    except BaseException as raised:  # noqa: BLE001 (everything that leaves a cell is the user's to see)
        if _ends_quietly(raised):
            return EXIT_OK
        error = raised
    if error not in told:
        line.emit(_describe(error, spec))
    return EXIT_ERROR


def _join(spec: RankSpec, listener: socket.socket | None) -> Collective:
    world = spec.job.options.workers
    if world == 1 or listener is None:
        return Alone()
    tls: dict[str, Any] = {}
    if spec.security is not None and spec.security.require_encryption:
        tls = {
            "ssl_client": spec.security.get_connection_args("worker")["ssl_context"],
            "ssl_server": spec.security.get_listen_args("worker")["ssl_context"],
        }
    token = spec.token + spec.attempt.to_bytes(4, "big")
    return connect_ring(spec.rank, world, spec.addresses, token=token, listener=listener, timeout_s=JOIN_TIMEOUT_S, **tls)


def _context(spec: RankSpec, line: Line, collective: Collective) -> RankContext:
    job = spec.job
    checkpoints = Path(spec.run_dir) / "checkpoints"
    checkpoints.mkdir(mode=0o700, parents=True, exist_ok=True)
    return RankContext(
        run_id=job.run_id,
        rank=spec.rank,
        world_size=job.options.workers,
        attempt=spec.attempt,
        seed=job.seed,
        threads=spec.threads,
        gpus=tuple(range(len(spec.gpus))),
        strategy=job.strategy,
        batch=job.options.batch,
        checkpoint_dir=checkpoints,
        scratch_dir=Path(spec.buffer_dir) / job.run_id / "scratch",
        checkpoint_s=job.options.checkpoint_s,
        settings=job.framework_settings,
        # trials of a study run the same code: what is true of the first is true of all
        check=job.options.check if job.trial is None or job.trial.number == 0 else "never",
        collective=collective,
        emit=line.emit,
        stop_requested=line.stop_requested.is_set,
        keeps_model=job.trial is None or job.trial.keeps,
        mentions_rank=_mentions_rank(job.program),
    )


def _mentions_rank(program: Program) -> bool:
    texts = [program.source, *(line for source in program.sources.values() for line in source.lines)]
    return any(re.search(r"\brank\b", text) for text in texts)


def warn_without_common_home(spec: RankSpec, emit: Callable[[Event], None]) -> None:
    """Say if this machine does not see what the supervisor has in the run's folder; all ranks say it in the same words."""
    # the supervisor begins its journal before any rank; a study would be told of it by each of its trials
    if spec.job.trial is None and not (Path(spec.run_dir) / JOURNAL_NAME).exists():
        emit(ev.Warned(message=_NO_COMMON_HOME))


def _opener(spec: RankSpec) -> Callable[[str], memoryview]:
    return lambda digest: map_buffer(Path(spec.buffer_dir), spec.job.buffers_id, digest)


def _work_folder(spec: RankSpec) -> Path:
    """The notebook's folder where the rank can see it, so that relative paths mean what they mean in the notebook."""
    folder = Path(spec.job.folder)
    if spec.job.folder and folder.is_dir():
        return folder
    Path(spec.run_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(spec.run_dir)


def _hand_back(spec: RankSpec, outcome: Outcome, watch: Watch | None, line: Line) -> None:
    def packed(target: Path | BinaryIO) -> Packed:
        return pack(spec.job.program, outcome, target, reducers=reducers(), watch=watch)

    Hander(spec, packed, line.say, line.emit, line.stop_requested.is_set).hand_back()


def _hand_back_after_error(spec: RankSpec, outcome: Outcome, watch: Watch | None, line: Line) -> None:
    """Hand back the names that a cell had bound when it raised; the cell's own error stays the one that is raised."""
    try:
        _hand_back(spec, outcome, watch, line)
    except Exception as problem:  # noqa: BLE001 (a full disk, say, must not take the place of the cell's error)
        line.emit(
            ev.Warned(message=f"what the cell had bound before its error does not come back: {first_sentence(problem)}")
        )


def _ends_quietly(error: BaseException) -> bool:
    """Whether what left the cell is no error: an exit that says so, or the end that was asked for."""
    return isinstance(error, StopRequested) or (isinstance(error, SystemExit) and error.code in (None, 0))


def _returned(outcome: Outcome, reached: tuple[str, ...]) -> ev.Returned:
    """Say what numbers the cell's last expression has, and which components of an ablation it came across."""
    value = outcome.value if outcome.has_value else None
    found = value if isinstance(value, Mapping) else {"value": value}
    values: dict[str, float] = {}
    others: dict[str, str] = {}
    for name, number in found.items():
        try:
            values[str(name)] = as_number(number)
        except (TypeError, ValueError):
            others[str(name)] = type(number).__name__
    kind = "" if value is None or values else type(value).__name__
    return ev.Returned(
        rank=0, values=values, type=kind, others=others if isinstance(value, Mapping) else {}, reached=reached
    )


def _describe(error: BaseException, spec: RankSpec) -> ev.RankError:
    described = describe_error(error, spec.job.program)
    return ev.RankError(
        rank=spec.rank,
        name=described.name,
        message=described.message,
        traceback=described.traceback or "".join(traceback.format_exception(error)),
        is_peer_loss=_is_peer_loss(error),
    )


def _is_peer_loss(error: BaseException) -> bool:
    """Whether an error, or what caused it, is the loss of a peer; frameworks wrap it in errors of their own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PeerLostError) or PeerLostError.__name__ in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
