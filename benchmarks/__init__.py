"""Measurements, each against a named rival in the same run; ``make bench`` writes ``docs/benchmarks.md``."""

import sys
from pathlib import Path

# homes and servers that the tests make too
for _folder in ("shared", "ui", "magics"):
    sys.path.append(str(Path(__file__).parents[1] / "tests" / _folder))
