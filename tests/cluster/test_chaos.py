"""Ten random kills, as ``make chaos`` does a hundred: nothing is lost, run twice, contradicted, hung or left behind."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

import pytest


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    yield importlib.import_module("benchmarks.chaos")
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_ten_random_kills_cost_nothing(chaos) -> None:
    counts = chaos.one_round(random.Random("ten"), 2, 10, daemon=False)
    assert not any(counts.faults.values()), counts.faults
    assert counts.kills.total() > 3
