"""PyTorch: a plain loop on two ranks against one process, and against DistributedDataParallel over gloo.

``.venv-torch/bin/python -m benchmarks.torch_steps``, in the environment of ``make .venv-torch/.ready``.
"""

from __future__ import annotations

import datetime
import os
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import hops_magic as hops
from benchmarks.document import with_sections
from benchmarks.table import Table

DOCUMENT = Path("docs/benchmarks.md")
BATCH, TIMES = 128, 3

DATA = """
import os, time
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[RANK % len(os.sched_getaffinity(0))]})
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
torch.manual_seed(0)
"""
CONVOLUTIONS = """
x, y = torch.randn(ROWS, 1, 28, 28), torch.randint(0, 10, (ROWS,))
model = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9216, 10)
)
"""
WIDE = """
x, y = torch.randn(ROWS, 512), torch.randint(0, 10, (ROWS,))
model = nn.Sequential(nn.Linear(512, 2900), nn.ReLU(), nn.Linear(2900, 2900), nn.ReLU(), nn.Linear(2900, 10))
"""
LOOP = """
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
def epoch():
    for a, b in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
epoch()
began = time.perf_counter()
epoch()
seconds = time.perf_counter() - began
"""
PLAIN = "loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)\n"
PARALLEL = """
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler
dist.init_process_group("gloo")
model = DistributedDataParallel(model)
data = TensorDataset(x, y)
loader = DataLoader(data, batch_size=BATCH // 2, sampler=DistributedSampler(data))
"""


@dataclass(frozen=True)
class Program:
    """What is trained, and on how many rows."""

    told: str
    source: str
    rows: int


PROGRAMS = (
    Program("CNN, 0.1 M parameters, compute-bound", CONVOLUTIONS, 3_840),
    Program("MLP, 10 M parameters, bound by the exchange", WIDE, 3_840),
)


def _source(program: Program, rank: str, loader: str) -> str:
    text = DATA.replace("RANK", rank) + program.source + loader + LOOP
    return text.replace("ROWS", str(program.rows)).replace("BATCH", str(BATCH))


def _process(source: str, **env: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.Popen([sys.executable, "-c", source + "\nprint(seconds)"], env=env, stdout=subprocess.PIPE, text=True)


def plain(program: Program) -> float:
    """Train in one process; return the seconds of an epoch after the first."""
    return float(_process(_source(program, "0", PLAIN)).communicate()[0])


def parallel(program: Program) -> float:
    """Train in two processes with DistributedDataParallel; return the seconds of the slower one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    both = [_process(_source(program, str(rank), PARALLEL), RANK=str(rank), **common) for rank in range(2)]
    return max(float(each.communicate()[0]) for each in both)


def ours(program: Program, ranks: int) -> float:
    """Train the plain loop on ranks; return the seconds of the slower one."""
    namespace: dict[str, object] = {}
    source = (
        "import hops_magic as hops\n" + _source(program, "hops.rank", PLAIN) + 'seconds = hops.all_reduce(seconds, "max")'
    )
    hops.train(
        source, namespace=namespace, workers=ranks, threads_per_rank=1, show=False, framework="torch", out=("seconds",)
    )
    return float(namespace["seconds"])  # type: ignore[arg-type]


def table() -> Table:
    result = Table(
        "PyTorch",
        f"Seconds of an epoch after the first, medians of {TIMES} by turns: a plain loop of PyTorch, batches of {BATCH} in "
        "all, Adam, one thread and one core for each process. The rival is DistributedDataParallel over gloo, with a "
        "sampler and half the batch each. Aims: two ranks no slower than the rival, 1.8 x one process where computing "
        "takes the time; one rank at most 1.03 x plain Python.",
        [
            "program",
            "one process",
            "ours, 1 rank",
            "ours, 2 ranks",
            "rival, 2",
            "1 rank / plain",
            "speed-up",
            "ours / rival",
        ],
    )
    for program in PROGRAMS:
        turns = [(plain(program), ours(program, 1), ours(program, 2), parallel(program)) for _ in range(TIMES)]
        alone, one, two, rival = (statistics.median(column) for column in zip(*turns, strict=True))
        result.rows.append([program.told, alone, one, two, rival, one / alone, alone / two, two / rival])
    said = "; ".join(
        f"{row[0].split(',')[0]}: {row[6]:.2f} x one process, {row[7]:.2f} x the rival's time" for row in result.rows
    )
    result.verdict = f"Two ranks: {said}."
    return result


def main() -> None:
    section = table().markdown(datetime.datetime.now(datetime.UTC).date())
    print(section)
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(with_sections(text, text[: text.index("\n## ")], [section]))


if __name__ == "__main__":
    main()
