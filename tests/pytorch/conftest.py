"""A kernel with a cluster of its own, in which the cells of a module run."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "magics"))
from kernels import Kernel


@pytest.fixture(scope="module")
def kernel(request, tmp_path_factory):
    """The module's ``SETUP`` has run in it."""
    root = tmp_path_factory.mktemp("torch")
    for name in ("home", "runtime", "work"):
        (root / name).mkdir(mode=0o700)
    env = {
        **os.environ,
        "HOPS_HOME": str(root / "home"),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "HOPS_VIEW": "stream",
        "OMP_NUM_THREADS": "1",
    }
    kernel = Kernel(env, root / "work")
    for cell in (request.module.SETUP, "%cluster start -n 2 --threads 1"):
        ran = kernel.run(cell)
        assert not ran.error, ran.error
    yield kernel
    kernel.run("%cluster stop --force")
    kernel.close()
