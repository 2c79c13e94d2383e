"""Keras on TensorFlow: ordinary ``model.fit`` made data-parallel, observable and restartable.

Nothing here imports TensorFlow before a session begins: the warm process imports it, and forks before its first op.
"""

from __future__ import annotations

from hops_magic.frameworks.keras.adapter import KerasFramework
from hops_magic.frameworks.keras.pickling import fingerprint, load_model, reducers, save_model, update_in_place
from hops_magic.frameworks.keras.settings import settings_here

__all__ = ["KerasFramework", "fingerprint", "load_model", "reducers", "save_model", "settings_here", "update_in_place"]
