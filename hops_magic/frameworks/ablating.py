"""Leaving components out: what a rank of an ablation trial does differently, and which components it came across.

A component is named by its kind: ``feature:age``, ``layer:bn1``, ``flag:use_bn``; a mark in the cell has its name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AblationSpec:
    """What of a program can be left out, and what is left out in this trial.

    Attributes
    ----------
    left_out : str
        Name of one component; empty for the base trial.
    features : tuple of str
        Columns of captured DataFrames.
    layers : tuple of str
        Names of Keras layers, or beginnings of such names.
    flags : tuple of str
        Variables of the cell that are True, but for the one that is left out.
    """

    left_out: str = ""
    features: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass
class Ablation:
    """A rank's part: answers what is on, and remembers what was asked."""

    spec: AblationSpec = field(default_factory=AblationSpec)
    reached: dict[str, None] = field(default_factory=dict)

    def is_on(self, name: str) -> bool:
        """Whether a component takes part in this trial; the base trial learns of it by this."""
        self.reached[name] = None
        return name != self.spec.left_out

    def flag_values(self) -> dict[str, bool]:
        """Return the flags as the cell sees them."""
        return {name: self.is_on(f"flag:{name}") for name in self.spec.flags}

    def drop_columns(self, namespace: MutableMapping[str, Any]) -> None:
        """Leave a feature out of every captured DataFrame that has it."""
        for name, value in list(namespace.items()):
            columns = getattr(value, "columns", None)
            if columns is None or not hasattr(value, "drop") or not hasattr(value, "loc"):
                continue
            out = [feature for feature in self.spec.features if feature in columns and not self.is_on(f"feature:{feature}")]
            if out:
                namespace[name] = value.drop(columns=out)

    def layer_of(self, name: str) -> str | None:
        """Return the component that a layer belongs to by its name, the longest beginning first."""
        fitting = [part for part in self.spec.layers if name == part or name.startswith(part)]
        return f"layer:{max(fitting, key=len)}" if fitting else None


_current: ContextVar[Ablation | None] = ContextVar("hops_ablation", default=None)


def current_ablation() -> Ablation | None:
    """The ablation of the trial this code runs in, or None."""
    return _current.get()


@contextmanager
def ablating(spec: AblationSpec | None) -> Iterator[Ablation | None]:
    """Make a process a rank of an ablation trial."""
    ablation = None if spec is None else Ablation(spec)
    token = _current.set(ablation)
    try:
        yield ablation
    finally:
        _current.reset(token)


class Ablate:
    """Marks what can be left out, in a cell's own words: ``hops.ablate``.

    In a plain cell, and in the base trial, nothing is left out.
    """

    def on(self, name: str) -> bool:
        """Whether the component ``name`` takes part: ``if hops.ablate.on("augment"): ...``."""
        ablation = current_ablation()
        return True if ablation is None else ablation.is_on(name)

    def features(self, names: Sequence[str]) -> list[str]:
        """Return the names of features that take part, each a component ``feature:NAME``."""
        ablation = current_ablation()
        return list(names) if ablation is None else [name for name in names if ablation.is_on(f"feature:{name}")]

    def layer(self, name: str, layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a layer, or what gives its input back where the component ``layer:NAME`` is left out.

        In a functional model: ``x = hops.ablate.layer("bn1", keras.layers.BatchNormalization())(x)``.
        """
        ablation = current_ablation()
        return layer if ablation is None or ablation.is_on(f"layer:{name}") else _same

    def layers(self, named: Mapping[str, Any]) -> list[Any]:
        """Return the layers that take part, for a Sequential model."""
        ablation = current_ablation()
        return [layer for name, layer in named.items() if ablation is None or ablation.is_on(f"layer:{name}")]


def _same(inputs: Any) -> Any:
    return inputs
