"""What an adapter makes of its process: threads, and the backend of Keras."""

import os
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

from hops_magic.frameworks.context import RankContext
from hops_magic.frameworks.plain import PlainFramework
from hops_magic.frameworks.ring import Alone


def context(folder, threads):
    return RankContext(
        run_id="r",
        rank=0,
        world_size=1,
        attempt=0,
        seed=0,
        threads=threads,
        gpus=(),
        strategy="none",
        batch="global",
        checkpoint_dir=folder,
        scratch_dir=folder,
        checkpoint_s=None,
        collective=Alone(),
        emit=lambda event: None,
        stop_requested=lambda: False,
    )


def blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def test_plain_python_computes_on_as_many_threads_as_the_rank_has(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    with threadpoolctl.threadpool_limits(1), PlainFramework().session(context(tmp_path, threads=2)):
        assert blas_threads() == {2}
        # what the rank imports or starts reads it there
        assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_keras_of_another_backend_is_refused_however_it_was_chosen(backend, tmp_path):
    (tmp_path / "keras.json").write_text(f'{{"backend": "{backend}"}}')
    code = """
from hops_magic.errors import UnsupportedError
from hops_magic.frameworks.keras import KerasFramework
try:
    KerasFramework().session(None).__enter__()
except UnsupportedError as error:
    print(error)
"""
    env = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**env, "KERAS_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert f"Keras uses {backend} where the ranks run" in done.stdout, done.stderr
    assert "--framework none" in done.stdout
