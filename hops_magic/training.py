"""Train a program on a cluster: composes capture, engine, frameworks and registry.

:func:`prepare` captures and checks, :func:`start` submits, :func:`follow` watches until the end, :func:`collect` brings the
values back. A session does these four one after the other.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hops_magic.cells.capture import Capture, CellOrigin, capture
from hops_magic.cells.results import Unpacked, unpack
from hops_magic.cells.tracebacks import collapse
from hops_magic.cells.writes import file_writes, notes_of
from hops_magic.errors import HopsError, OptionError, RunFailedError, RunStoppedError, UnsupportedError
from hops_magic.frameworks import choose, reducers, settings_of_notebook, update
from hops_magic.interrupts import KernelEnds, is_shutting_down
from hops_magic.runs.inputs import FeatureInput
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.run import Run
from hops_magic.runs.states import INTERRUPTED, RunState
from hops_magic.runs.summary import Summary

if TYPE_CHECKING:
    from hops_magic.engine.cluster import Cluster
    from hops_magic.engine.job import Recorder
    from hops_magic.engine.results import Result
    from hops_magic.engine.submit import Handle, RunHandle

INTERRUPT_GRACE_S = 6.0
PROVIDED = ("hops", "strategy")
"""Names that every rank has by itself."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a program comes from: recorded, and used to find its modules and relative paths.

    ``history`` maps the numbers of executed cells to their source, to say where a name was made; ``inputs`` names to the
    features that they come from.
    """

    origin: CellOrigin
    folder: Path = field(default_factory=Path.cwd)
    notebook: str = ""
    history: Mapping[int, str] = field(default_factory=dict)
    inputs: Mapping[str, tuple[FeatureInput, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A program that can travel, and how it is to be run."""

    run_id: str
    name: str
    experiment: str
    captured: Capture
    options: DistributedOptions
    framework: str
    strategy: str
    seed: int
    surroundings: Surroundings


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run that came to its end.

    Attributes
    ----------
    run : Run
        Its final summary.
    values : dict
        What came back, by name; the last expression's value is ``value``.
    left_behind : dict
        Why a name did not come back.
    """

    run: Run
    values: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    has_value: bool = False
    display: Mapping[str, Any] = field(default_factory=dict)
    left_behind: Mapping[str, str] = field(default_factory=dict)


class Holder(Protocol):
    """Whoever holds the values of an ended run: a cluster, through a handle, or the run's folder."""

    def result(self) -> Result | None:
        """Tell where rank 0 left its values; None if nothing came back."""
        ...

    def fetch(self, result: Result, into: Path) -> Path:
        """Return a local file with them."""
        ...

    def forget(self) -> None:
        """Release what is held, when nobody will ask for it again."""
        ...


def prepare(
    source: str,
    namespace: Mapping[str, Any],
    options: DistributedOptions,
    surroundings: Surroundings,
    *,
    provided: Sequence[str] = (),
) -> Prepared:
    """Capture a program; nothing is started yet.

    Parameters
    ----------
    provided
        Further names that ranks have by themselves, such as hyperparameters.

    Raises
    ------
    UsageError
        If a name is missing or cannot travel, or the source has an error.
    OptionError, UnsupportedError
        If the options ask for what cannot be done truthfully, or would do nothing.
    """
    out: tuple[str, ...] | None = () if options.no_out else options.out
    captured = capture(
        source,
        namespace,
        origin=surroundings.origin,
        out=out,
        reducers=reducers(),
        folder=surroundings.folder,
        history=surroundings.history,
        # the notebook's own names of these kinds come first
        provided=(*provided, *(name for name in PROVIDED if name not in namespace)),
    )
    if options.workers > 1:
        notes = notes_of(file_writes(captured.program, namespace), options.workers)
        captured = replace(captured, report=replace(captured.report, notes=(*captured.report.notes, *notes)))
    framework = choose(options.framework, captured.program.frameworks)
    if framework == "none":
        _refuse_what_needs_keras(options)
    elif framework == "torch":
        _refuse_what_torch_lacks(options)
    run_id = secrets.token_hex(6)
    return Prepared(
        run_id=run_id,
        name=options.name or f"{surroundings.origin.label}-{run_id[:4]}",
        experiment=options.experiment or _experiment(surroundings.notebook),
        captured=captured,
        options=options,
        framework=framework,
        strategy=_strategy(options, framework),
        seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
        surroundings=surroundings,
    )


def _refuse_what_needs_keras(options: DistributedOptions) -> None:
    unused = {
        "--batch": options.batch if options.batch != "global" else None,
        "--checkpoint-s": options.checkpoint_s,
        "--check": options.check if options.check != "auto" else None,
        "--strategy": options.strategy if options.strategy in ("collective", "mirrored") else None,
    }
    for flag, value in unused.items():
        if value is not None:
            remedy = "leave it out, or say --framework keras if the code uses it in some package"
            raise OptionError(flag, "does nothing where the body is plain Python", str(value), remedy)


def _refuse_what_torch_lacks(options: DistributedOptions) -> None:
    known = {
        "--batch": ("per-rank", options.batch, "a batch_size in the cell is that of all ranks together"),
        "--strategy": ("mirrored", options.strategy, "-n trains on several GPUs, one each"),
        "--checkpoint-s": (options.checkpoint_s, options.checkpoint_s, "hops.checkpoint in the loop keeps what you name"),
    }
    for flag, (unknown, value, remedy) in known.items():
        if value is not None and value == unknown:
            raise OptionError(flag, "does nothing for PyTorch", str(value), f"leave it out: {remedy}")


def _experiment(notebook: str) -> str:
    return Path(notebook).stem or "default"


def _strategy(options: DistributedOptions, framework: str) -> str:
    gpus = options.gpus_per_rank or 1
    if options.workers > 1 and gpus > 1 and framework != "none":
        raise UnsupportedError(
            f"-n {options.workers} with --gpus-per-rank {gpus} is not supported: "
            f"-n {options.workers * gpus} with one GPU per rank trains the same model"
        )
    if options.strategy == "parameter-server":
        raise UnsupportedError(
            "--strategy parameter-server is not supported: Keras 3's fit does not work under a ParameterServerStrategy; "
            "--strategy collective trains synchronously with the same code"
        )
    if options.strategy != "auto":
        return options.strategy
    if framework == "none":
        return "none"
    if options.workers > 1:
        return "collective"
    return "mirrored" if gpus > 1 else "none"


def start(cluster: Cluster, prepared: Prepared, open_recorder: Callable[[Path], Recorder] | None = None) -> RunHandle:
    """Submit a prepared program to a cluster and return at once.

    Raises
    ------
    OptionError
        If the run needs more slots than the cluster has.
    """
    from hops_magic.engine.job import Job
    from hops_magic.engine.submit import submit

    job = Job(
        run_id=prepared.run_id,
        name=prepared.name,
        experiment=prepared.experiment,
        program=prepared.captured.program,
        options=prepared.options,
        framework=prepared.framework,
        strategy=prepared.strategy,
        seed=prepared.seed,
        created_at=time.time(),
        folder=str(prepared.surroundings.folder),
        open_recorder=open_recorder,
        framework_settings=settings_of_notebook(),
    )
    return submit(cluster.client, job, prepared.captured.buffers)


@contextlib.contextmanager
def starting(prepared: Prepared) -> Iterator[None]:
    """Say in a sentence what an interrupt has cut short, if it comes before a run is on its cluster.

    Raises
    ------
    RunStoppedError
        If it comes; nothing of the run is left.
    """
    try:
        yield
    except KernelEnds:
        raise
    except KeyboardInterrupt:
        sentence = f"{prepared.name} was interrupted before it began: nothing of it runs; run the cell again to start it"
        raise RunStoppedError(prepared.run_id, sentence) from None


def follow(handle: Handle[Summary], show: Callable[[Summary], None] | None = None, *, interrupted: bool = False) -> Summary:
    """Show a run or study until it is final; an interrupt stops it, and follows it to its end; a kernel's end does not.

    Parameters
    ----------
    interrupted
        Whether an interrupt came before this was called.

    Raises
    ------
    ClusterError
        If the connection to the cluster is lost; the run goes on without us.
    RunStoppedError
        If it was interrupted and does not end soon; the cluster keeps what it will leave.
    KeyboardInterrupt
        If the kernel is being shut down or restarted; the run goes on.
    """
    interrupted_at = None
    while True:
        try:
            if interrupted and interrupted_at is None:
                raise KeyboardInterrupt
            for run in handle.follower.updates():
                if show is not None:
                    show(_with_silence(run, handle.follower.silent_since))
                is_late = interrupted_at is not None and time.monotonic() - interrupted_at >= INTERRUPT_GRACE_S
                if is_late and not run.state.is_final:
                    raise RunStoppedError(run.run_id, f"{run.name} is still stopping: %attach {run.run_id} shows its end")
            return handle.follower.run
        except KeyboardInterrupt:
            if interrupted_at or _spares_the_run():
                raise
            interrupted_at = time.monotonic()
            handle.stop(INTERRUPTED)


def _with_silence(run: Summary, since: float | None) -> Summary:
    """Return a run as it is shown: without news it stands still, and says since when."""
    if since is None or run.state.is_final:
        return run
    text = (
        f"the connection to the cluster is lost since {time.strftime('%H:%M:%S', time.localtime(since))}: what is shown "
        "stands still, the run itself goes on, and is followed again when the cluster answers"
    )
    return replace(run, warnings=(*run.warnings, text), ended_at=since)


def _spares_the_run() -> bool:
    """Whether an interrupt is a kernel's end: the run goes on, to be followed from elsewhere."""
    try:
        return is_shutting_down()
    except KeyboardInterrupt:
        return False


def collect(
    handle: Holder, namespace: MutableMapping[str, Any], run: Run, *, originals: Mapping[int, Any] | None = None
) -> Trained:
    """Bring a final run's values into a namespace, and release the run on the cluster.

    What the cell had bound before it failed is brought too, as a plain cell leaves it.

    Raises
    ------
    RunFailedError
        If the run failed, with the traceback of its ranks.
    RunStoppedError
        If the run was stopped before its code came to an end.
    """
    ended = _error_of(run)
    try:
        result = handle.result()
        unpacked = Unpacked() if result is None else _brought(handle, result, namespace, originals)
    except HopsError as problem:
        if ended is None:
            raise
        # nothing may take the place of why the run failed
        warnings.warn(f"what the cell had bound before it ended does not come back: {problem}", stacklevel=2)
        result, unpacked = None, Unpacked()
    if ended is None and run.state is RunState.STOPPED and result is None:
        ended = RunStoppedError(run.run_id, stopped_sentence(run))
    handle.forget()
    if ended is not None:
        raise ended
    left_behind = {**(run.result.left_behind if run.result else {}), **unpacked.left_behind}
    return Trained(
        run=run,
        values={name: namespace[name] for name in unpacked.names if name in namespace},
        value=unpacked.value,
        has_value=unpacked.has_value,
        display=unpacked.display,
        left_behind=left_behind,
    )


def _brought(
    handle: Holder, result: Result, namespace: MutableMapping[str, Any], originals: Mapping[int, Any] | None
) -> Unpacked:
    with tempfile.TemporaryDirectory(prefix="hops-") as folder:
        path = handle.fetch(result, Path(folder))
        unpacked = unpack(path, namespace, updates=(update,), originals=originals)
        path.unlink(missing_ok=True)
    return unpacked


def _error_of(run: Run) -> RunFailedError | RunStoppedError | None:
    """Make the error of a run whose code did not come to its end, as far as the run's own summary tells."""
    if run.state is RunState.FAILED:
        return failure(run)
    if run.state is RunState.STOPPED and any(error.rank == 0 for error in run.errors):
        return RunStoppedError(run.run_id, stopped_sentence(run))
    return None


def failure(run: Run) -> RunFailedError:
    """Make the error of a failed run: the traceback of its ranks, collapsed where they agree."""
    causes = [error for error in run.errors if not error.is_peer_loss]
    if not causes:
        return RunFailedError(run.run_id, f"run {run.name} failed: {run.reason}")
    collapsed = collapse(causes, world_size=run.world_size)
    return RunFailedError(run.run_id, collapsed.message, collapsed.traceback)


def stopped_sentence(run: Run) -> str:
    """Say that a run was stopped and what is left of it."""
    kept = f"; its last checkpoint is kept in {run.checkpoint.path}" if run.checkpoint else ""
    return f"run {run.name} was {run.reason or 'stopped'} before its code came to an end{kept}"
