"""An embedded cluster on a machine that pretends to have two GPUs; says as JSON what it made of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any


def pretend() -> None:
    """Stand in for the driver where Dask-CUDA asks it for sizes."""
    import dask_cuda.local_cuda_cluster

    from hops_magic.engine import machine

    # Dask-CUDA's own switch for machines without a driver
    os.environ["DASK_CUDA_TEST_DISABLE_DEVICE_SPECIFIC"] = "1"
    dask_cuda.local_cuda_cluster.parse_device_memory_limit = lambda *_, **__: 8 << 30
    machine.visible_gpus = lambda: ("0", "1")


async def look(folder: Path) -> dict[str, Any]:
    from distributed import Client

    from hops_magic.engine.connection import ConnectionFile
    from hops_magic.engine.daemon import WORKERS_WITHIN_S, Daemon

    daemon = Daemon(folder, ConnectionFile(folder / "home", folder / "run"), workers=None, threads=None, idle_s=60)
    connection = await daemon.start()
    found: dict[str, Any] = {"options": [spec["options"]["preload"] for spec in daemon.cluster.worker_spec.values()]}
    # how long the start of a worker may take, beside how long the cluster waits for its workers
    found["patience"] = [spec["options"]["death_timeout"] / WORKERS_WITHIN_S for spec in daemon.cluster.worker_spec.values()]
    security = connection.credentials().security()
    async with Client(connection.address, security=security, asynchronous=True, set_as_default=False) as client:
        visible = await client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        found["visible"] = sorted(visible.values())
    found["third"] = await daemon.scale(3)
    found["one"] = await daemon.scale(1)
    await daemon.close()
    return found


if __name__ == "__main__":
    pretend()
    print(json.dumps(asyncio.run(look(Path(sys.argv[1])))))  # noqa: T201
