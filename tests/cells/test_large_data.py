"""A large array costs its size once: not again in the kernel, not again per rank."""

import json
import pickle
import subprocess
import sys

SIZE = 256 << 20

KERNEL = """
import sys, json, pickle, resource
from pathlib import Path
import numpy as np
from hops_magic.cells.capture import CellOrigin, capture
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
namespace = {"__name__": "__main__", "x": np.ones(SIZE // 8)}
before = peak()
captured = capture("total = float(x.sum())", namespace, origin=CellOrigin(label="In[1]"))
after = peak()
folder = Path(sys.argv[1])
for digest, data in captured.buffers.items():
    with (folder / digest).open("wb") as file:
        file.write(data)
(folder / "program").write_bytes(pickle.dumps(captured.program))
print(json.dumps(after - before))
""".replace("SIZE", str(SIZE))

RANK = """
import sys, json, pickle, mmap
from pathlib import Path
from hops_magic.cells.program import execute
from hops_magic.cells.results import Watch, pack
folder = Path(sys.argv[1])
def open_buffer(digest):
    with (folder / digest).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
def memory(field):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(field))
before = memory("Private_")
watch = Watch()
outcome = execute(pickle.loads((folder / "program").read_bytes()), open_buffer=open_buffer, extra={}, before=watch.begin)
print("ready", flush=True)
sys.stdin.readline()
shared = memory("Private_") - before
pack_to = folder / f"parcel{sys.argv[2]}"
packed = pack(pickle.loads((folder / "program").read_bytes()), outcome, pack_to, watch=watch)
print(json.dumps([outcome.namespace["total"], shared, packed.names, packed.left_behind]), flush=True)
sys.stdin.readline()
"""


def test_an_array_is_neither_copied_in_the_kernel_nor_per_rank(tmp_path):
    kernel = subprocess.run([sys.executable, "-c", KERNEL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(kernel.stdout) < SIZE / 8
    assert len((tmp_path / "program").read_bytes()) < 10_000
    assert pickle.loads((tmp_path / "program").read_bytes()).bundles
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(2)
    ]
    try:
        for rank in ranks:
            assert rank.stdout.readline() == "ready\n"
        for rank in ranks:
            rank.stdin.write("\n")
            rank.stdin.flush()
            total, private, names, left_behind = json.loads(rank.stdout.readline())
            assert total == SIZE / 8
            assert private < SIZE / 4
            assert (names, left_behind) == (["total"], {})
    finally:
        for rank in ranks:
            rank.communicate("\n", timeout=30)
