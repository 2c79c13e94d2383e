"""What a cell on the cluster calls through ``hops``: its place among the ranks, collectives, reports, its part of the data.

Outside a run there is one rank, number 0, so that the same code runs in a plain cell too.
"""

from __future__ import annotations

import itertools
import numbers
from pathlib import Path
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.context import current
from hops_magic.runs.events import Metrics

_steps = itertools.count(1)


def rank() -> int:
    """Return this process's number, from 0."""
    context = current()
    return 0 if context is None else context.rank


def world_size() -> int:
    """Return how many ranks train together."""
    context = current()
    return 1 if context is None else context.world_size


def checkpoint_dir() -> Path:
    """Return the folder in which the user's code may keep checkpoints; all ranks and attempts of a run share it.

    Raises
    ------
    UsageError
        Outside a run.
    """
    context = current()
    if context is None:
        raise UsageError("hops.checkpoint_dir exists only inside a run: use it in a %%distributed cell")
    folder = context.checkpoint_dir / "user"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def should_stop() -> bool:
    """Whether the user asked the run to stop; ranks learn of it at different moments, so agree before you act on it."""
    context = current()
    return context is not None and context.stop_requested()


def report(step: int | None = None, **metrics: Any) -> None:
    """Say the values of metrics at a step: points of live curves, and of the run's record.

    Parameters
    ----------
    step
        Counted from 1 by itself if not given.
    **metrics
        Numbers, or what ``float()`` makes one of: numpy and TensorFlow scalars too.

    Raises
    ------
    UsageError
        For a metric that is no number.
    """
    values = {name: _number(name, value) for name, value in metrics.items()}
    context = current()
    number = next(_steps) if step is None else int(step)
    if context is not None:
        context.emit(Metrics(rank=context.rank, step=number, scope="user", values=values))


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"hops.report: {name} must be a number, got {value!r:.80}") from None


def all_reduce(value: Any, op: str = "sum") -> Any:
    """Reduce a value over the ranks; every rank gets the result.

    Parameters
    ----------
    value
        A number, an array, a tensor, or lists, tuples and dictionaries of them, alike on all ranks.
    op
        ``sum``, ``mean``, ``max`` or ``min``.
    """
    if isinstance(value, dict):
        return {key: all_reduce(value[key], op) for key in value}
    if isinstance(value, list | tuple):
        return type(value)(all_reduce(part, op) for part in value)
    import numpy as np

    array = np.asarray(value)
    if op == "mean" and array.dtype.kind in "iub":
        array = array.astype(np.float64)  # the mean of whole numbers is none
    reduced = _collective().all_reduce(array, op)
    if isinstance(value, np.ndarray):
        return reduced
    if isinstance(value, numbers.Number | np.generic):
        if op == "mean" or isinstance(value, float):
            return float(reduced)
        return reduced[()].item() if isinstance(value, numbers.Number) and not isinstance(value, np.generic) else reduced[()]
    return _like(value, reduced)


def _like(value: Any, array: Any) -> Any:
    if type(value).__module__.startswith("tensorflow"):
        import importlib

        return importlib.import_module("tensorflow").convert_to_tensor(array)
    return array


def broadcast(value: Any, root: int = 0) -> Any:
    """Give every rank the picklable value of ``root``."""
    if not 0 <= root < world_size():
        raise UsageError(f"hops.broadcast: root must be a rank below {world_size()}, got {root}")
    return _collective().broadcast_object(value, root)


def gather(value: Any) -> list[Any]:
    """Give every rank the picklable values of all ranks, in their order."""
    return list(_collective().all_gather_objects(value))


def barrier() -> None:
    """Wait until every rank has come here."""
    _collective().barrier()


def _collective() -> Collective:
    context = current()
    if context is not None:
        return context.collective
    from hops_magic.frameworks.ring import Alone

    return Alone()


def shard(data: Any) -> Any:
    """Return this rank's part of some data.

    Dask collections give the rank its partitions, in turn (0, n, 2n ...), computed here: a DataFrame, an array or a list.
    Arrays, tables and sequences give a contiguous slice of rows; sizes differ by one at most. A ``tf.data.Dataset`` gives
    each n-th element.
    """
    me, world = rank(), world_size()
    if callable(getattr(data, "__dask_graph__", None)):
        return _dask_part(data, me, world)
    if hasattr(data, "shard") and hasattr(data, "element_spec"):
        return data.shard(world, me)
    if isinstance(data, dict):
        return {key: shard(part) for key, part in data.items()}
    if not hasattr(data, "__len__"):
        raise UsageError(f"hops.shard needs data with a length, or a Dask collection, got {type(data).__name__}")
    start, end = len(data) * me // world, len(data) * (me + 1) // world
    return data.iloc[start:end] if hasattr(data, "iloc") else data[start:end]


def _dask_part(data: Any, me: int, world: int) -> Any:
    if hasattr(data, "divisions"):
        mine = [data.partitions[i] for i in range(me, data.npartitions, world)]
        if not mine:
            return data.head(0, npartitions=1, compute=False).compute(scheduler="synchronous")
        import dask.dataframe as dd

        return dd.concat(mine).compute(scheduler="synchronous")
    if not hasattr(data, "chunks"):  # a bag
        parts = [part.compute(scheduler="synchronous") for part in data.to_delayed()[me::world]]
        return [item for part in parts for item in part]
    import numpy as np

    blocks = [data.blocks[i].compute(scheduler="synchronous") for i in range(me, data.numblocks[0], world)]
    return np.concatenate(blocks) if blocks else np.empty((0, *data.shape[1:]), data.dtype)
