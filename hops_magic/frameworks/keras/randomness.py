"""Random numbers inside a step: each rank draws its own, so that dropout masks differ from rank to rank."""

from __future__ import annotations

from typing import Any

from hops_magic.frameworks.keras.patches import Patches
from hops_magic.frameworks.keras.step import TensorCollective, current_rows


def install(patches: Patches, tensors: TensorCollective) -> None:
    """Mix the rank into the seeds that are drawn while a step is traced; initial weights stay alike."""
    from keras.src.backend.tensorflow import random as tf_random
    from keras.src.random.seed_generator import SeedGenerator

    def make(original: Any) -> Any:
        def draw_seed(seed: Any) -> Any:
            import tensorflow as tf

            drawn = original(seed)
            # layers draw from generators; initial weights come from plain numbers, and must be alike on all ranks
            if current_rows() is None or not isinstance(seed, SeedGenerator):
                return drawn
            drawn = tf.convert_to_tensor(drawn)
            return drawn + tf.cast([tensors.rank * 1_000_003, 0], drawn.dtype)

        return draw_seed

    patches.wrap(tf_random, "draw_seed", make)
