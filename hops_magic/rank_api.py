"""What a cell on the cluster calls through ``hops``: its place among the ranks, collectives, reports, its part of the data.

Outside a run there is one rank, number 0, so that the same code runs in a plain cell too.
"""

from __future__ import annotations

import itertools
import operator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hops_magic.errors import UsageError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.context import current, note_split
from hops_magic.runs.events import Metrics
from hops_magic.runs.numbers import as_number

_steps = itertools.count(1)
# records keep steps in 64 bits
_MOST_STEP = 2**63 - 1


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


def restore(**state: Any) -> SimpleNamespace:
    """Bring back what the last checkpoint of an earlier attempt has; to be called before a loop that keeps checkpoints.

    Parameters
    ----------
    **state
        What makes up the state of the training, as it is at first: modules, optimizers, schedulers, scalers, generators and
        tensors, which take over what was kept in place, and plain values, such as ``epoch=0``.

    Returns
    -------
    SimpleNamespace
        The same names: values as they were kept, or as they were given where there is no checkpoint.

    Raises
    ------
    UsageError
        If the checkpoint has other names, and for what cannot be kept.
    """
    context = current()
    if context is None:
        return SimpleNamespace(**state)
    from hops_magic.frameworks.checkpointing import restore as restored

    return restored(context, state)


def checkpoint(**state: Any) -> None:
    """Keep a checkpoint, with which a run that loses a rank goes on; every rank calls it, with the names of :func:`restore`.

    The random numbers of each rank, and the place in each loop over a PyTorch ``DataLoader``, are kept as well. Outside a
    run nothing is kept, since nothing is restarted.

    Raises
    ------
    UsageError
        If :func:`restore` was not called before with the same names.
    """
    context = current()
    if context is not None:
        from hops_magic.frameworks.checkpointing import keep

        keep(context, state)


def should_stop() -> bool:
    """Whether the user asked the run to stop; ranks learn of it at different moments, so agree before you act on it."""
    context = current()
    return context is not None and context.stop_requested()


def report(step: int | None = None, **metrics: Any) -> None:
    """Say the values of metrics at a step: points of live curves, and of the run's record.

    Parameters
    ----------
    step
        A whole number, 0 or more; counted from 1 by itself if not given.
    **metrics
        Numbers, also numpy's and TensorFlow's, and arrays of one number.

    Raises
    ------
    UsageError
        For a metric that is no number, and for a step that is no whole number, below 0 or of more than 63 bits.
    """
    values = {name: _number(name, value) for name, value in metrics.items()}
    number = next(_steps) if step is None else _whole("step", step)
    if number < 0:
        raise UsageError(f"hops.report: step must be 0 or more, got {number}")
    if number > _MOST_STEP:
        raise UsageError(f"hops.report: step must be at most 2**63 - 1, got {number}")
    context = current()
    if context is not None and values:
        context.reported.update(values)
        context.emit(Metrics(rank=context.rank, step=number, scope="user", values=values))


def _number(name: str, value: Any) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError):
        raise UsageError(f"hops.report: {name} must be a number, got {value!r:.80}") from None


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        number = _number(name, value)
    if not number.is_integer():
        raise UsageError(f"hops.report: {name} must be a whole number, got {value!r:.80}: count epochs or batches")
    return int(number)


def all_reduce(value: Any, op: str = "sum") -> Any:
    """Reduce a value over the ranks; every rank gets the result.

    Parameters
    ----------
    value
        A number, an array, a tensor, or lists, tuples and dictionaries of them, alike on all ranks in dtype and shape.
        Comes back as the same kind; the mean of whole numbers is a float, and truth values are counted by ``sum``.
    op
        ``sum``, ``mean``, ``max`` or ``min``.

    Raises
    ------
    CollectiveError
        On every rank, naming both calls, if ranks do not call the same.
    UsageError
        For what is no number, and inside a ``tf.function``.
    """
    from hops_magic.frameworks.nested import all_reduce_nested

    return all_reduce_nested(_collective(), value, op)


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
    Arrays, tables, lists and rows that stream from the feature store give a contiguous slice of rows; sizes differ by one at
    most. A ``tf.data.Dataset`` and a Keras ``PyDataset`` give each n-th element. Tuples and dictionaries of such data,
    ``(x, y)`` say, are split part by part.

    Given to ``fit`` and ``evaluate`` of Keras, each rank feeds the rows of its part: see ``docs/keras.md``.

    Raises
    ------
    UsageError
        For data that cannot be split, such as a generator.
    """
    if isinstance(data, dict):
        return {key: shard(part) for key, part in data.items()}
    if isinstance(data, tuple):
        return tuple(shard(part) for part in data)
    part = _part(data, rank(), world_size())
    note_split(part)
    return part


def _part(data: Any, me: int, world: int) -> Any:
    if callable(getattr(data, "__dask_graph__", None)):
        return _dask_part(data, me, world)
    if hasattr(data, "of_rank"):
        return data.of_rank(me, world)
    if hasattr(data, "shard") and hasattr(data, "element_spec"):
        return data.shard(world, me)
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):
        from hops_magic.frameworks.keras.inputs.each_nth import each_nth

        return each_nth(data, me, world)
    try:
        start, end = len(data) * me // world, len(data) * (me + 1) // world
        return data.iloc[start:end] if hasattr(data, "iloc") else data[start:end]
    except TypeError:
        raise UsageError(
            f"hops.shard needs data with a length that can be sliced, or a Dask collection, got {type(data).__name__}"
        ) from None


def _dask_part(data: Any, me: int, world: int) -> Any:
    # a Delayed has attributes of any name
    if not isinstance(getattr(data, "npartitions", None), int):
        raise UsageError(f"hops.shard splits Dask frames, arrays and bags, not {type(data).__name__}: compute it first")
    if hasattr(data, "divisions"):
        mine = [data.partitions[i] for i in range(me, data.npartitions, world)]
        if not mine:
            return data.head(0, npartitions=1, compute=False).compute(scheduler="synchronous")
        import dask.dataframe as dd

        return dd.concat(mine).compute(scheduler="synchronous")
    if hasattr(data, "blocks"):
        import numpy as np

        blocks = [data.blocks[i].compute(scheduler="synchronous") for i in range(me, data.numblocks[0], world)]
        return np.concatenate(blocks) if blocks else np.empty((0, *data.shape[1:]), data.dtype)
    parts = [part.compute(scheduler="synchronous") for part in data.to_delayed()[me::world]]
    return [item for part in parts for item in part]
