"""How long a notebook waits for ``import hops_magic`` and ``%load_ext hops_magic``, beside numpy in the same run."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.table import Table, interleaved

CLOCK = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
SHELL = "from IPython.core.interactiveshell import InteractiveShell; s = InteractiveShell.instance(); "
CONTESTANTS = {
    "`import numpy`": CLOCK.format("import numpy"),
    "`import hops_magic`": CLOCK.format("import hops_magic"),
    "`%load_ext hops_magic`": SHELL + CLOCK.format("s.run_line_magic('load_ext', 'hops_magic')"),
}


def seconds(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def table(times: int = 5) -> Table:
    medians = interleaved(times, *(lambda code=code: seconds(code) for code in CONTESTANTS.values()))
    result = Table(
        "Imports",
        "Fresh processes. Aims: import under 0.5 s, `%load_ext` under 0.7 s (IPython itself is already imported then).",
        ["", "seconds (median)", "ratio to numpy"],
        [[name, median, median / medians[0]] for name, median in zip(CONTESTANTS, medians, strict=True)],
    )
    result.verdict = "Heavy libraries are imported when first used."
    return result


if __name__ == "__main__":
    print(table().markdown())
