"""Collectives on tensors, inside TensorFlow's graphs too."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from hops_magic.errors import CollectiveError, UnsupportedError
from hops_magic.frameworks.collective import Collective
from hops_magic.frameworks.keras.agreement import FINGERPRINT_SIZE, all_alike
from hops_magic.frameworks.keras.locality import is_local, mark_alike
from hops_magic.frameworks.keras.rows import Rows, Seeking, current_rows, sought


class TensorCollective:
    """Collectives on tensors, inside graphs too, over a transport for arrays.

    Each all-reduce carries the ranks' votes along, so that they agree on a step at no cost of its own.
    """

    def __init__(self, collective: Collective, vote: Callable[[], tuple[float, ...]], votes: int) -> None:
        self._collective, self._vote = collective, vote
        self.votes = np.zeros(votes, np.float32)
        self.rows_are_alike = True
        self.fed = 0
        self.share = 1.0 / collective.world_size
        """This rank's part of the rows of the last step."""
        self.failure: CollectiveError | UnsupportedError | None = None
        self._turn: Any = None

    @property
    def rank(self) -> int:
        """This rank's number."""
        return self._collective.rank

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return self._collective.world_size

    def all_reduce(self, tensor: Any, op: str = "sum") -> Any:
        """Reduce a tensor over the ranks: its ``sum``, ``max`` or ``min``."""
        what = _place_in_step()
        reduced = self._in_turn(lambda array: self._reduce(array, op, what), [tensor], tensor.dtype)
        reduced.set_shape(tensor.shape)
        mark_alike(reduced)
        return reduced

    def all_reduce_voting(self, flat: Any, weight: Any, fingerprint: Any = None) -> Any:
        """Sum a vector over the ranks, each with its weight; one of weight 0 counts as zero, be it NaN.

        Afterwards :attr:`votes` holds the sums of their votes, and :attr:`rows_are_alike` whether their fingerprints agree.
        """
        import tensorflow as tf

        kept = [np.empty(0)]

        def space(size: int, dtype: Any) -> Any:
            if kept[0].size != size or kept[0].dtype != dtype:
                kept[0] = np.empty(size, dtype)
            return kept[0]

        def reduce(array: Any, weight: Any, mine: Any, share: Any) -> Any:
            self.share = float(share)
            ballot = np.concatenate([self._vote(), mine, mine**2])
            # weighted on the way into what is sent: each pass over all gradients costs time
            said = space(array.size + ballot.size, array.dtype)
            if weight:
                np.multiply(array, array.dtype.type(weight), out=said[: array.size])
            else:
                said[: array.size] = 0
            said[array.size :] = ballot
            together = self._reduce(said, what=what)
            counted = together[array.size :].astype(np.float64)
            self.votes = counted[: self.votes.size].astype(np.float32)
            sums, squares = np.split(counted[self.votes.size :], 2)
            self.rows_are_alike = all_alike(sums, squares, self.world_size)
            return together[: array.size]

        mine = tf.zeros(FINGERPRINT_SIZE) if fingerprint is None else fingerprint
        rows, what = current_rows(), _place_in_step()
        share = tf.constant(1.0 / self.world_size, tf.float64) if rows is None else rows.weight
        reduced = self._in_turn(reduce, [flat, weight, mine, share], flat.dtype)
        reduced.set_shape(flat.shape)
        mark_alike(reduced)
        return reduced

    def note_fed(self, rows: Rows) -> None:
        """Fold a batch's fingerprint into :attr:`fed`, which ranks compare when they add up their metrics."""
        import tensorflow as tf

        def note(numbers: Any, share: Any) -> None:
            self.share = float(share)
            self.fed = zlib.crc32(np.asarray(numbers).tobytes(), self.fed) % (1 << 20)

        tf.numpy_function(note, [rows.fingerprint, rows.weight], [], stateful=True)

    def refuse_other_lengths(self, names: list[str], lengths: list[Any]) -> None:
        """Let a step fail whose parts do not have as many rows as one another: a rank could not take its part of each."""
        import tensorflow as tf

        def refuse(found: Any) -> Any:
            self.failure = other_lengths(names, found.tolist())
            raise self.failure

        known = [tf.get_static_value(length) for length in lengths]
        if None not in known:
            if len({int(length) for length in known}) > 1:
                raise other_lengths(names, [int(length) for length in known])
            return
        found = tf.stack(lengths)
        # Python is called where it has something to say: a call costs as much as many operations
        tf.cond(
            tf.reduce_all(tf.equal(found, found[0])),
            lambda: tf.constant(0),
            lambda: tf.numpy_function(refuse, [found], tf.int32, stateful=True),
        )

    def _in_turn(self, function: Callable[..., Any], given: list[Any], kinds: Any) -> Any:
        """Call Python from a graph, after all such calls before it.

        TensorFlow keeps the order of what it calls in Python, but not that of loops and branches which do so and read
        variables: on another rank they could come in another order. All that writes to one variable it keeps in order.
        """
        import tensorflow as tf

        if tf.executing_eagerly():
            return tf.numpy_function(function, given, kinds, stateful=True)
        if self._turn is None:
            with tf.init_scope(), tf.device("CPU:0"):
                self._turn = tf.Variable(0, dtype=tf.int64, trainable=False, name="turn")
        with tf.control_dependencies([self._turn.assign_add(1, read_value=False)]):
            result = tf.numpy_function(function, given, kinds, stateful=True)
        with tf.control_dependencies(tf.nest.flatten(result)):
            self._turn.assign_add(1, read_value=False)
        return result

    def _reduce(self, array: Any, op: str = "sum", what: str = "") -> Any:
        try:
            return self._collective.all_reduce(array, op, what=what)
        except CollectiveError as error:
            self.failure = error  # TensorFlow would turn it into an error of its own, and a long one
            raise

    def concatenate(self, *tensors: Any) -> list[Any]:
        """Join tensors of the ranks along their first axis, in the order of ranks; lengths may differ."""

        def join(*arrays: Any) -> list[Any]:
            try:
                parts = self._collective.all_gather_objects(arrays)
            except CollectiveError as error:
                self.failure = error
                raise
            return [np.concatenate(column) for column in zip(*parts, strict=True)]

        joined = self._in_turn(join, list(tensors), [tensor.dtype for tensor in tensors])
        joined = joined if isinstance(joined, list | tuple) else [joined]
        for result, tensor in zip(joined, tensors, strict=True):
            result.set_shape([None, *tensor.shape[1:]])
        mark_alike(*joined)
        return list(joined)

    def differentiable_sum(self, tensor: Any, rows: Rows) -> Any:
        """Sum a tensor over the ranks; gradients, of any order, flow back to every rank that contributed.

        Gradients of means are weighted by the ranks' rows only later, so what comes from others is brought to this rank's
        scale; gradients of sums over rows are not. What a rank without rows makes of the row that it borrows flows nowhere.
        """
        import tensorflow as tf

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(x: Any) -> Any:
            def backward(upstream: Any) -> Any:
                upstream = _of_own_rows(upstream, rows)
                if sought() is Seeking.SUM:
                    return self.differentiable_sum(upstream, rows)
                together = self.differentiable_sum(upstream * tf.cast(rows.weight, upstream.dtype), rows)
                return together * tf.cast(rows.inverse_weight, upstream.dtype)

            return self.all_reduce(x), backward

        result = summed(tensor)
        mark_alike(result)
        return result

    def gather_rows(self, tensor: Any, rows: Rows) -> Any:
        """Join the ranks' rows of a tensor; gradients, of any order, flow back to the ranks that have them.

        Gradients of means are brought to this rank's scale: they are weighted by the ranks' rows later.
        """
        joined = self.gather_with(tensor, [], rows)[0]
        joined.set_shape([None, *tensor.shape[1:]])
        return joined

    def gather_with(self, tensor: Any, others: list[Any], rows: Rows) -> list[Any]:
        """Join the ranks' rows of a tensor as :meth:`gather_rows` does, and with it those of others that are constants."""
        import tensorflow as tf

        kept = tf.where(rows.local > 0, tf.shape(tensor)[0], 0)
        beside: list[Any] = []

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def gathered(x: Any) -> Any:
            joined, lengths, *beside[:] = self.concatenate(
                x[:kept], tf.reshape(kept, [1]), *(each[:kept] for each in others)
            )
            start = tf.reduce_sum(lengths[: self.rank])

            def backward(upstream: Any) -> Any:
                of_sum, upstream = sought() is Seeking.SUM, tf.convert_to_tensor(upstream)
                if is_local(upstream):  # each rank made another part of the result of all rows
                    weight = 1.0 if of_sum else tf.cast(rows.weight, upstream.dtype)
                    upstream = self.differentiable_sum(_of_own_rows(upstream, rows) * weight, rows)
                mine = upstream[start : start + kept]
                mine = mine if of_sum else mine * tf.cast(rows.inverse_weight, upstream.dtype)
                return tf.concat([mine, tf.zeros_like(x[kept:])], 0)

            return joined, backward

        result = gathered(tensor)
        mark_alike(result)
        return [result, *beside]


def _place_in_step() -> str:
    """Say which exchange of a step is traced: ranks that come to another one differ by more than its size."""
    rows = current_rows()
    return "" if rows is None else f"exchange {next(rows.places)} of a step"


def _of_own_rows(upstream: Any, rows: Rows) -> Any:
    """Return a gradient, zero on a rank without rows: its predictions are those of a row that another rank has too."""
    import tensorflow as tf

    return tf.where(rows.local > 0, upstream, tf.zeros_like(upstream))


def other_lengths(names: list[str], lengths: list[int]) -> UnsupportedError:
    """Return the error for a batch whose parts have other numbers of rows."""
    found = ", ".join(f"{name} has {length}" for name, length in zip(names, lengths, strict=True))
    return UnsupportedError(
        f"the parts of a batch have different lengths ({found}): ranks take the same rows of each part; "
        "make them equally long, give what belongs to the whole batch to the model in another way, or train with -n 1"
    )
