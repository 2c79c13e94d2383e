"""Dask-CUDA on this machine: one worker per GPU."""

from __future__ import annotations

from typing import Any

from dask_cuda import LocalCUDACluster


class GpuCluster(LocalCUDACluster):
    """Dask-CUDA's cluster, without the CUDA context that it makes in each worker.

    The GPU's memory belongs to the ranks, and a worker forks no rank after it has touched the driver.
    """

    def new_worker_spec(self) -> dict[Any, Any]:
        specs: dict[Any, Any] = super().new_worker_spec()
        for spec in specs.values():
            options = spec["options"]
            options["preload"] = [module for module in options["preload"] if module != "dask_cuda.initialize"]
            options["preload_argv"] = [word for word in options["preload_argv"] if word != "--create-cuda-context"]
        return specs
