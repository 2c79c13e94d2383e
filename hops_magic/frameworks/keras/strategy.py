"""``strategy`` in a cell on several ranks: what loops that are written for ``tf.distribute`` ask of a strategy.

Each rank is one replica. As in TensorFlow's own strategies, an optimizer adds up the gradients of all replicas when it
is called inside :meth:`RankStrategy.run`: losses are divided by the rows of the global batch, as
``tf.nn.compute_average_loss`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from hops_magic.errors import UsageError
from hops_magic.frameworks.keras.rows import as_replica, is_replica
from hops_magic.frameworks.keras.step import length_of, part_of
from hops_magic.frameworks.keras.tensors import TensorCollective
from hops_magic.frameworks.patches import Patches


def install(patches: Patches, tensors: TensorCollective) -> None:
    """Let TensorFlow's functions that divide by replicas know how many there are."""
    import tensorflow as tf

    def make_average(original: Any) -> Any:
        def compute_average_loss(per_example_loss: Any, sample_weight: Any = None, global_batch_size: Any = None) -> Any:
            if global_batch_size is None and is_replica():
                global_batch_size = tf.shape(per_example_loss)[0] * tensors.world_size
            return original(per_example_loss, sample_weight=sample_weight, global_batch_size=global_batch_size)

        return compute_average_loss

    def make_scale(original: Any) -> Any:
        def scale_regularization_loss(regularization_loss: Any) -> Any:
            scaled = original(regularization_loss)
            return scaled / tensors.world_size if is_replica() else scaled

        return scale_regularization_loss

    patches.wrap(tf.nn, "compute_average_loss", make_average)
    patches.wrap(tf.nn, "scale_regularization_loss", make_scale)


class RankStrategy:
    """The ranks of a run in the words of ``tf.distribute.Strategy``."""

    def __init__(self, tensors: TensorCollective) -> None:
        self._tensors = tensors

    @property
    def num_replicas_in_sync(self) -> int:
        """How many ranks there are."""
        return self._tensors.world_size

    @contextmanager
    def scope(self) -> Iterator[RankStrategy]:
        """Return a scope that changes nothing: a rank's variables are ordinary ones."""
        yield self

    def run(self, fn: Callable[..., Any], args: Any = (), kwargs: Any = None, options: Any = None) -> Any:  # noqa: ARG002
        """Call ``fn`` on this rank; what optimizers apply in it is the sum of all ranks' gradients."""
        with as_replica():
            return fn(*args, **(kwargs or {}))

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        """Reduce a value over the ranks, and along an axis of it if one is given; every rank gets the result.

        Parameters
        ----------
        reduce_op
            ``tf.distribute.ReduceOp.SUM`` or ``MEAN``, or their names. A mean along an axis counts elements, not ranks.
        value
            A tensor, or a structure of them.
        axis
            ``None`` keeps the shape.
        """
        import tensorflow as tf

        name = str(getattr(reduce_op, "value", reduce_op)).upper()
        if name not in ("SUM", "MEAN"):
            raise UsageError(f"strategy.reduce knows SUM and MEAN, not {reduce_op!r:.40}")

        def reduced(each: Any) -> Any:
            tensor = tf.convert_to_tensor(each)
            count = tf.constant(1, tf.int64) if axis is None else tf.shape(tensor, tf.int64)[axis]
            total = self._tensors.all_reduce(tensor if axis is None else tf.reduce_sum(tensor, axis))
            if name == "SUM":
                return total
            return tf.math.divide(total, tf.cast(self._tensors.all_reduce(count), total.dtype))

        return tf.nest.map_structure(reduced, value)

    def gather(self, value: Any, axis: int) -> Any:
        """Join a tensor of the ranks along an axis, in their order; every rank gets the result."""
        import tensorflow as tf

        tensor = tf.convert_to_tensor(value)
        order = [axis, *(each for each in range(len(tensor.shape)) if each != axis)]
        back = [order.index(each) for each in range(len(order))]
        (joined,) = self._tensors.concatenate(tf.transpose(tensor, order))
        return tf.transpose(joined, back)

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:  # noqa: ARG002
        """Return a dataset of this rank's contiguous part of each global batch.

        A batch with fewer rows than there are ranks raises where it is drawn.
        """
        import tensorflow as tf

        rank, world_size = self._tensors.rank, self._tensors.world_size

        def part(*element: Any) -> Any:
            data = element if isinstance(dataset.element_spec, tuple) else element[0]
            few = f"a batch has fewer rows than the {world_size} ranks: batch with drop_remainder=True, or other sizes"
            rows = length_of(tf.nest.flatten(data)[0])
            with tf.control_dependencies([tf.debugging.assert_greater_equal(rows, world_size, few)]):
                return part_of(data, tf.identity(rows), rank, world_size)

        return dataset.map(part, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def distribute_datasets_from_function(self, dataset_fn: Callable[[Any], Any], options: Any = None) -> Any:  # noqa: ARG002
        """Return the dataset that a function makes for this rank, which is one of as many input pipelines."""
        import tensorflow as tf

        world_size = self._tensors.world_size
        return dataset_fn(tf.distribute.InputContext(world_size, self._tensors.rank, world_size))

    def experimental_local_results(self, value: Any) -> tuple[Any, ...]:
        """Return the values of this process's replicas: the one there is."""
        return (value,)

    def __getattr__(self, name: str) -> NoReturn:
        known = ", ".join(sorted(each for each in dir(type(self)) if not each.startswith("_")))
        raise AttributeError(f"strategy.{name}: on several ranks a strategy has {known}; with -n 1 it is TensorFlow's own")
