"""The adapter: a rank's process made ready for Keras, and its hooks for the time of the cell."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hops_magic.errors import UnsupportedError, first_sentence
from hops_magic.frameworks.ablating import current_ablation
from hops_magic.frameworks.context import RankContext
from hops_magic.runs.events import Warned

_SWITCH_S = 0.0005
"""How long a thread waits for another that computes in Python: an exchange between ranks takes the interpreter's lock
several times, and would wait five milliseconds each time beside a generator of the user's."""

_NO_GPU_FOUND = (
    "TensorFlow finds no GPU where the ranks have one, and trains on the CPU: "
    "is hops_magic[cuda] installed there, and does nvidia-smi work?"
)


class KerasFramework:
    """Keras 3 on TensorFlow."""

    name = "keras"
    preload: tuple[str, ...] = (
        "tensorflow",
        "keras",
        "hops_magic.frameworks.keras.trainer",
        "hops_magic.frameworks.keras.hooks",
    )

    @contextmanager
    def session(self, context: RankContext) -> Iterator[Mapping[str, Any]]:
        """Prepare the process and yield ``strategy``.

        Raises
        ------
        UnsupportedError
            For a backend or version of Keras that cannot be made data-parallel.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _check_backend()
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(context.threads)
        # a thread that waits for peers must never be the only one
        tf.config.threading.set_inter_op_parallelism_threads(max(2, context.threads))
        if context.gpus and not tf.config.list_physical_devices("GPU"):
            context.emit(Warned(message=_NO_GPU_FOUND))
        keras.utils.set_random_seed(context.seed % 2**31)

        from hops_magic.frameworks.keras.settings import apply_settings

        apply_settings({name: value for name, value in context.settings.items() if name != "torch"})

        from hops_magic.frameworks.keras import leaving_out, trainer
        from hops_magic.frameworks.keras.first_step import FirstStepCheck
        from hops_magic.frameworks.keras.fitting import VOTES, FitSession
        from hops_magic.frameworks.keras.joining import explained
        from hops_magic.frameworks.keras.strategy import RankStrategy
        from hops_magic.frameworks.keras.tensors import TensorCollective
        from hops_magic.frameworks.patches import Patches

        session, patches = FitSession(context), Patches()
        parallel = context.strategy == "collective" and context.world_size > 1
        tensors = TensorCollective(context.collective, session.vote, VOTES) if parallel else None
        session.tensors = tensors
        strategy = _strategy(context, tf) if tensors is None else RankStrategy(tensors)
        # TensorFlow's own handler, set when a strategy is made, swallows it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        usual_s = sys.getswitchinterval()
        try:
            if tensors is not None:
                sys.setswitchinterval(_SWITCH_S)
            if context.strategy != "none" or context.world_size == 1:
                trainer.install(patches, session, tensors)
            if tensors is not None:
                _install_parallel(patches, tensors)
                session.first_step = FirstStepCheck(session, patches)
            if context.world_size > 1:
                _install_for_several(patches, context)
            _keep_generated_code(patches, context.scratch_dir)
            if (ablation := current_ablation()) is not None and ablation.spec.layers:
                leaving_out.install(patches, ablation)
            with explained(context), strategy.scope() if context.strategy == "mirrored" else nullcontext():
                yield {"strategy": strategy}
            if context.rank == 0 and context.keeps_model and session.last_model is not None:
                _keep_model(context, session.last_model)
        finally:
            sys.setswitchinterval(usual_s)
            patches.undo()


def _keep_generated_code(patches: Any, folder: Path) -> None:
    """Let TensorFlow write the code that it generates where it goes with the run: ranks have no exit handlers."""
    from tensorflow.python.autograph.pyct import loader

    def make(tempfile: Any) -> Any:
        def in_folder(**options: Any) -> Any:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=folder, **options)

        return SimpleNamespace(NamedTemporaryFile=in_folder)

    patches.wrap(loader, "tempfile", make)


def _install_parallel(patches: Any, tensors: Any) -> None:
    from hops_magic.frameworks.keras import batchnorm, gradients, loops, losses, metric_updates, randomness, strategy

    loops.install(patches)
    gradients.install(patches, tensors)
    metric_updates.install(patches, tensors)
    losses.install(patches, tensors)
    batchnorm.install(patches, tensors)
    randomness.install(patches, tensors)
    strategy.install(patches, tensors)


def _install_for_several(patches: Any, context: RankContext) -> None:
    from hops_magic.frameworks.keras import jit, legacy, writers, writing_callbacks

    writers.install(patches, context)
    writing_callbacks.install(patches, context)
    if context.strategy != "none":
        legacy.install(patches)
        jit.install(patches, context)


def _strategy(context: RankContext, tf: Any) -> Any:
    if context.strategy != "mirrored":
        return tf.distribute.get_strategy()
    kind = "GPU" if context.gpus else "CPU"
    devices = tf.config.list_logical_devices(kind)
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _check_backend() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise UnsupportedError("TensorFlow is not installed where the ranks run: install it there, or use --framework none")
    backend = _backend()
    if backend != "tensorflow":
        raise UnsupportedError(
            f"Keras uses {backend} where the ranks run (by KERAS_BACKEND, or keras.json there): "
            "ranks train it on TensorFlow; change it, or use --framework none"
        )


def _backend() -> str:
    """Ask Keras; one that is not installed is named by Keras's attempt to import it."""
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name in ("jax", "torch"):
            return error.name
        raise
    return str(keras.backend.backend())


def _keep_model(context: RankContext, model: Any) -> None:
    """Leave the model where the record of the run takes it from."""
    from hops_magic.frameworks.keras.pickling import save_model

    try:
        save_model(model, context.checkpoint_dir.parent / "model" / "model.keras")
    except Exception as error:  # noqa: BLE001 (a model of the user's that cannot be saved must not fail the run)
        context.emit(Warned(message=f"the model is not recorded, it cannot be saved: {first_sentence(error)}"))
