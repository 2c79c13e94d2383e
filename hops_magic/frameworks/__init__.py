"""What runs inside a rank: collectives, and one adapter per framework that makes ordinary code data-parallel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hops_magic.errors import OptionError

if TYPE_CHECKING:
    from hops_magic.frameworks.context import Framework

KERAS_MODULES = frozenset({"keras", "tensorflow", "tf_keras"})
TORCH_MODULES = frozenset({"torch", "torchvision", "torchaudio"})

Reducer = tuple[Callable[[Any], bool], Callable[[Any], Any]]
"""``(predicate, reduce)``: how objects that pickle does not know travel."""


def framework(name: str) -> Framework:
    """Return the adapter called ``keras``, ``torch`` or ``none``."""
    if name == "keras":
        from hops_magic.frameworks.keras import KerasFramework

        return KerasFramework()
    if name == "torch":
        from hops_magic.frameworks.torch import TorchFramework

        return TorchFramework()
    from hops_magic.frameworks.plain import PlainFramework

    return PlainFramework()


def choose(asked: str, modules: frozenset[str]) -> str:
    """Resolve ``auto`` by the top-level modules that a program needs.

    Raises
    ------
    OptionError
        If it needs two frameworks.
    """
    if asked != "auto":
        return asked
    if modules & KERAS_MODULES and modules & TORCH_MODULES:
        raise OptionError(
            "--framework",
            "must say which of them trains where a cell needs both Keras and PyTorch",
            "auto",
            "say --framework keras or --framework torch",
        )
    if modules & TORCH_MODULES:
        return "torch"
    return "keras" if modules & KERAS_MODULES else "none"


def preload_modules() -> tuple[str, ...]:
    """Modules that the warm process imports; none of them may execute an op when imported."""
    return framework("keras").preload


def fingerprint(value: Any) -> bytes | None:
    """Return the content of an object that pickles differently each time; None for objects of no framework."""
    from hops_magic.frameworks.keras import fingerprint as keras_fingerprint

    found: bytes | None = keras_fingerprint(value)
    return found


def update(original: Any, returned: Any) -> bool:
    """Make an object of the notebook what the one that came back is; False if no framework knows such objects."""
    from hops_magic.frameworks.keras import update_in_place
    from hops_magic.frameworks.torch import update_in_place as update_of_torch

    return bool(update_in_place(original, returned)) or update_of_torch(original, returned)


def settings_of_notebook() -> Mapping[str, Any]:
    """Return the global settings of frameworks in this process that a program relies on."""
    from hops_magic.frameworks.keras import settings_here
    from hops_magic.frameworks.torch import settings_here as settings_of_torch

    of_torch = settings_of_torch()
    found: Mapping[str, Any] = {**settings_here(), **({"torch": of_torch} if of_torch else {})}
    return found


def reducers() -> Sequence[Reducer]:
    """How the frameworks' objects travel between the notebook and the ranks."""
    from hops_magic.frameworks.keras import reducers as keras_reducers
    from hops_magic.frameworks.torch import reducers as torch_reducers

    found: Sequence[Reducer] = (*keras_reducers(), *torch_reducers())
    return found
