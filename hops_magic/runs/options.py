"""Options of a ``%%distributed`` run; magic flags, Python keywords and forms derive from this one declaration."""

from __future__ import annotations

from dataclasses import dataclass

from hops_magic.errors import OptionError
from hops_magic.options import check, option
from hops_magic.runs.names import MODEL_NAME_RULE, is_model_name

STRATEGIES = ("auto", "collective", "mirrored", "parameter-server", "none")
FRAMEWORKS = ("auto", "keras", "torch", "none")


@dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """How a cell is trained on the cluster."""

    workers: int = option(2, "ranks that train together, one process each", flags=("-n",), at_least=1)
    gpus_per_rank: int | None = option(
        None, "GPUs of each rank, mirrored inside it (default: one where GPUs exist)", at_least=0
    )
    threads_per_rank: int | None = option(
        None, "CPU threads of each rank (default: its slot's share of the cores)", at_least=1
    )
    strategy: str = option("auto", "how ranks train together", choices=STRATEGIES)
    framework: str = option(
        "auto", "what makes the body parallel; none runs it as plain Python on each rank", choices=FRAMEWORKS
    )
    batch: str = option(
        "global", "what batch_size means: rows of a step over all ranks, or per rank", choices=("global", "per-rank")
    )
    check: str = option(
        "auto",
        "compare the first step with one process: auto where code is your own; strict refuses what differs",
        choices=("auto", "always", "strict", "never"),
    )
    restarts: int = option(2, "times the run may start again from its last checkpoint", at_least=0)
    timeout: float | None = option(None, "seconds after which the run is ended", at_least=0.1, metavar="SECONDS")
    checkpoint_s: float | None = option(
        None, "also checkpoint after this many seconds inside an epoch", at_least=0.1, metavar="SECONDS"
    )
    seed: int | None = option(
        None, "seed of Python, numpy and the framework on every rank (default: drawn and recorded)", at_least=0
    )
    name: str | None = option(None, "name of the run in the registry")
    experiment: str | None = option(None, "experiment that records the run (default: the notebook's name)")
    out: tuple[str, ...] | None = option(None, "bring back only these names", metavar="A,B")
    no_out: bool = option(False, "bring nothing back")
    register: str | None = option(None, "register the trained model under this name", metavar="NAME")
    detach: bool = option(False, "return at once; %%attach follows the run later")
    dry_run: bool = option(False, "show what would travel to the cluster and start nothing")

    def __post_init__(self) -> None:
        check(self)
        if self.register is not None and not is_model_name(self.register):
            raise OptionError("--register", MODEL_NAME_RULE, self.register[:80], "choose another name for the model")
        if self.out and self.no_out:
            raise OptionError("--out", "cannot be combined with --no-out", ",".join(self.out), "leave one of them out")
        if self.strategy == "mirrored" and self.workers > 1:
            raise OptionError(
                "--strategy",
                "mirrored trains in one process",
                f"-n {self.workers}",
                "use -n 1, or --strategy collective",
            )
