"""With NVIDIA GPUs the embedded cluster is Dask-CUDA's, one worker per GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hops_magic.engine import machine


def test_each_gpu_has_a_worker_which_leaves_it_to_the_ranks(tmp_path: Path) -> None:
    script = Path(__file__).with_name("gpu_daemon.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    # each worker sees its own GPU first
    assert found["visible"] == ["0,1", "1,0"]
    # and makes no CUDA context, which would keep some of its memory from the ranks
    assert found["options"] == [["hops_magic.engine.embedded_worker"]] * 2
    # and as long to start as the cluster waits for it
    assert found["patience"] == [1, 1]
    assert found["third"] == {"refused": 3, "gpus": 2}
    assert found["one"] == {"workers": 1}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver of two GPUs."""
    import pynvml

    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetIndex", lambda handle: {"GPU-a": 0, "GPU-b": 1}[handle])


@pytest.mark.parametrize(
    ("chosen", "seen"), [(None, ("0", "1")), ("1", ("1",)), ("", ()), ("-1", ()), ("GPU-b,0", ("1", "0"))]
)
def test_only_visible_gpus_count(
    chosen: str | None, seen: tuple[str, ...], driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert machine.visible_gpus() == seen


@pytest.mark.parametrize(
    ("first", "gpus"), [("1,0", ("1",)), ("GPU-b,GPU-a", ("1",)), ("MIG-c", ("MIG-c",)), ("", ()), ("-1", ()), ("none", ())]
)
def test_a_worker_has_the_gpu_that_it_sees_first(first: str, gpus: tuple[str, ...], driver: None, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", first)
    assert machine.gpus_of_worker() == gpus


def test_a_worker_without_the_drivers_library_has_its_gpu_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    monkeypatch.setattr("pynvml.nvmlInit", _no_driver)
    assert machine.gpus_of_worker() == ("GPU-b",)


def test_no_driver_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("pynvml.nvmlInit", _no_driver)
    assert machine.visible_gpus() == ()


def _no_driver() -> None:
    import pynvml

    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
