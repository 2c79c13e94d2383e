"""What a process uses, and whether it hangs or works."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from hops_magic.engine.resources import Liveness, ResourceSampler, oom_kills

# holds the interpreter's lock in C code: no other thread of it can say a word
BUSY = "while True: sorted(range(10**7), key=lambda x: -x)"


@pytest.fixture
def process():
    started = []

    def start(code):
        started.append(subprocess.Popen([sys.executable, "-c", f"print('up', flush=True)\n{code}"], stdout=subprocess.PIPE))
        started[-1].stdout.readline()
        return started[-1].pid

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def judge(liveness, silent_s, deadline_s=6.0):
    """Ask as a host does, until it says hung or the time is over."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if liveness.is_hung(silent_s):
            return True
        time.sleep(0.1)
    return False


def test_a_stopped_process_is_hung(process):
    pid = process("import time\ntime.sleep(100)")
    os.kill(pid, signal.SIGSTOP)
    assert judge(Liveness(pid, hung_after_s=2.0), silent_s=3.0)


def test_a_process_that_computes_without_a_word_is_not(process):
    assert not judge(Liveness(process(BUSY), hung_after_s=1.0), silent_s=100.0, deadline_s=3.0)


def test_a_process_that_was_heard_of_is_not(process):
    assert not judge(Liveness(process("import time\ntime.sleep(100)"), hung_after_s=2.0), silent_s=0.5, deadline_s=2.0)


def test_a_process_that_is_gone_is_told_otherwise(process):
    assert not Liveness(2**22 + 1, hung_after_s=0.1).is_hung(100.0)
    assert ResourceSampler(2**22 + 1).sample(0) is None


def test_what_a_process_uses(process):
    pid = process("data = bytearray(80 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\nwhile True: pass")
    sampler = ResourceSampler(pid)
    end = time.monotonic() + 20
    while True:
        time.sleep(0.3)
        sample = sampler.sample(3)
        if sample.memory_bytes > 80 << 20 and sample.cpu_percent > 10:
            break
        assert time.monotonic() < end, sample
    assert sample.rank == 3


def test_what_a_rank_started_counts_as_its_own(process):
    child = "data = bytearray(60 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\nwhile True: pass"
    pid = process(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")
    children = psutil.Process(pid).children
    sampler, end = ResourceSampler(pid), time.monotonic() + 20
    try:
        while (sample := sampler.sample(0)).memory_bytes < 60 << 20 or sample.cpu_percent < 10:
            assert time.monotonic() < end, sample
            time.sleep(0.3)
    finally:
        for each in children():
            each.kill()


def test_kills_of_the_kernel_are_counted():
    assert oom_kills() >= 0


@pytest.mark.parametrize(
    ("gpus", "busy", "used"), [(("0", "1"), 30.0, 3000), (("MIG-a",), None, 500)], ids=["two GPUs", "a slice of one"]
)
def test_gpus_are_told_as_far_as_the_driver_tells_them(gpus, busy, used, monkeypatch):
    import pynvml

    percent, memory = {"0": 20, "1": 40}, {"0": 1000, "1": 2000, "MIG-a": 500}

    def utilization(handle):
        if handle not in percent:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=percent[handle])

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", str)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", str)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", utilization)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=memory[handle]))
    found = ResourceSampler(os.getpid(), gpus).sample(0)
    assert (found.gpu_percent, found.gpu_memory_bytes) == (busy, used)
