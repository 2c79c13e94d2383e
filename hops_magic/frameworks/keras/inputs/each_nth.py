"""A rank's batches of a Keras ``PyDataset``: each n-th of them."""

from __future__ import annotations

from typing import Any


def each_nth(data: Any, rank: int, world_size: int) -> Any:
    """Return a ``PyDataset`` of the batches ``rank``, ``rank + world_size`` ... of another."""
    import keras

    class EachNth(keras.utils.PyDataset):  # type: ignore[misc]
        """Makes its batches as the other does, with as many workers."""

        def __len__(self) -> int:
            return len(range(rank, len(data), world_size))

        def __getitem__(self, index: int) -> Any:
            return data[index * world_size + rank]

        @property
        def num_batches(self) -> int | None:
            return None if data.num_batches is None else len(self)

        def on_epoch_begin(self) -> None:
            data.on_epoch_begin()

        def on_epoch_end(self) -> None:
            data.on_epoch_end()

    how = {name: getattr(data, name) for name in ("workers", "use_multiprocessing", "max_queue_size")}
    return EachNth(**how)
