"""A feed: a thread of Python that brings this rank's parts, batch by batch, to the dataset that Keras iterates over.

The dataset itself prefetches nothing, so ending an iterator never waits for a peer. The thread works ahead, as far as
:data:`AHEAD` batches, and starts over when the dataset is iterated over anew.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any

from hops_magic.errors import CollectiveError, PeerLostError
from hops_magic.frameworks.keras.inputs.element import Part
from hops_magic.frameworks.keras.inputs.frames import Abandoned, Frame, Of

AHEAD = 2
"""Batches that wait at a rank."""

CLOSE_S = 5.0

_FOREVER = 1 << 62


class Feed:
    """Parts of batches for one input of a fit or an evaluation.

    Parameters
    ----------
    spec
        The spec of a part's rows, whose components the frames carry.
    begin : callable
        Called where an iterator is made, in the thread that makes it, and its result handed to ``produce``. Iterators that
        are made count, although Keras makes some that it never reads: each moves the seeds of shuffles on.
    produce : callable
        Makes one pass over the data: called in the feed's thread with the number of the pass, from 1, what ``begin``
        returned, and a function that takes the frames, the last of which is an end or an error. That function raises
        :class:`Abandoned` when the pass is not wanted any more.
    close : callable
        Ends what ``produce`` may wait for.
    """

    def __init__(
        self,
        spec: Any,
        begin: Callable[[], Any],
        produce: Callable[[int, Any, Callable[[Frame], None]], None],
        close: Callable[[], None],
    ) -> None:
        self._spec, self._begin, self._produce, self._close = spec, begin, produce, close
        self._begun: Any = None
        self._frames: collections.deque[Frame] = collections.deque()
        self._news = threading.Condition()
        self._round = 0
        self._closed = self._is_read = False
        self._dataset: Any = None
        self._thread = threading.Thread(target=self._run, name="hops-feed", daemon=True)
        self.note: Callable[[int], None] | None = None
        """Called with the rows of each global batch that is read, if somebody counts them."""
        self.failure: BaseException | None = None
        """What the step's error hides: TensorFlow would turn it into an error of its own."""

    def __iter__(self) -> Any:
        """Return an iterator of TensorFlow's over the parts, from the beginning."""
        begun = self._begin()
        with self._news:
            self._round += 1
            self._frames.clear()
            self._begun = begun
            self._is_read = False
            self._news.notify_all()
        if self._dataset is None:
            self._dataset = self._of_parts()
        return iter(self._dataset)

    def _of_parts(self) -> Any:
        import tensorflow as tf

        components = tf.nest.flatten(self._spec, expand_composites=True)
        types = [tf.bool, tf.int32, tf.int32, tf.int32, tf.float32, *(component.dtype for component in components)]

        def take(_: Any) -> Any:
            has, total, first, count, fingerprint, *arrays = tf.numpy_function(self._take, [], types, stateful=True)
            for scalar in (has, total, first, count):
                scalar.set_shape([])
            fingerprint.set_shape([2])
            for array, component in zip(arrays, components, strict=True):
                array.set_shape(component.shape)
            rows = tf.nest.pack_sequence_as(self._spec, arrays, expand_composites=True)
            return has, Part(total, first, count, fingerprint, rows)

        options = tf.data.Options()
        # what the thread does ahead is enough: an iterator that works ahead could not be ended while it waits
        options.experimental_optimization.inject_prefetch = False
        options.autotune.enabled = False
        self._empty = [array for leaf in tf.nest.flatten(self._spec) for array in _empty(leaf)]
        parts = tf.data.Dataset.range(_FOREVER).map(take, num_parallel_calls=None)
        return parts.take_while(lambda has, _: has).map(lambda _, part: part).with_options(options)

    def close(self) -> None:
        """End the thread and its connections."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._close()
        if self._thread.ident is not None:
            # before what it draws with is compared; data that keeps the user's code waiting must not keep the cell
            self._thread.join(CLOSE_S)
        # an iterator that TensorFlow still holds goes on to draw, while the next fit may draw from the same generator
        self._begun = None

    # -- the dataset's end ----------------------------------------------------------------------------------------------

    def _take(self) -> list[Any]:
        import numpy as np

        with self._news:
            if not self._is_read:
                self._is_read = True
                self._news.notify_all()
                if self._thread.ident is None:
                    self._thread.start()
            self._news.wait_for(lambda: self._frames or self._closed)
            if not self._frames:
                raise CollectiveError("the input was closed while it was being read")
            frame = self._frames[0] if self._frames[0].of is not Of.BATCH else self._frames.popleft()
            self._news.notify_all()
        if frame.of is Of.ERROR:
            self.failure = frame.error
            raise RuntimeError(str(frame.error)) from frame.error
        has = frame.of is Of.BATCH
        if has and self.note is not None:
            self.note(frame.total)
        fingerprint = np.asarray(frame.fingerprint, np.float32)
        arrays = list(frame.arrays) if has else self._empty
        return [np.bool_(has), *map(np.int32, (frame.total, frame.first, frame.count)), fingerprint, *arrays]

    # -- the thread -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        made = 0
        while True:
            with self._news:
                while not (self._closed or (self._is_read and self._round > made)):
                    self._news.wait()
                if self._closed:
                    return
                made, begun = self._round, self._begun
            self._make(made, begun)

    def _make(self, made: int, begun: Any) -> None:
        def put(frame: Frame) -> None:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._round > made or len(self._frames) < AHEAD)
                if self._closed or self._round > made:
                    raise Abandoned
                self._frames.append(frame)
                self._news.notify_all()

        try:
            try:
                self._produce(made, begun, put)
            except (OSError, PeerLostError) as error:
                put(Frame(Of.ERROR, error=PeerLostError(f"a rank that shares the input is gone: {error}")))
            except Abandoned:
                raise
            except BaseException as error:  # noqa: BLE001 (told where the data is read)
                put(Frame(Of.ERROR, error=error))
        except Abandoned:
            return


def _empty(leaf: Any) -> list[Any]:
    """Return the components of no rows of a spec."""
    import numpy as np
    import tensorflow as tf

    arrays = []
    for component in tf.nest.flatten(leaf, expand_composites=True):
        shape = [size or 0 for size in component.shape] if component.shape.rank is not None else [0]
        arrays.append(np.zeros(shape, component.dtype.as_numpy_dtype))
    if isinstance(leaf, tf.RaggedTensorSpec):  # where rows begin and end, of none: one number
        arrays[1:] = [np.zeros(1, array.dtype) for array in arrays[1:]]
    return arrays
