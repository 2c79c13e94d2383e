"""Spaces of hyperparameters: friendly distributions, nested choices, and hyperopt's own ``hp.*`` graphs."""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.errors import OptionError, UsageError
from hops_magic.tuning.dimensions import Dimension, Kind, bounds, countable, drawable, finite, positive
from hops_magic.tuning.search import Point

if TYPE_CHECKING:
    import numpy as np

Draw = Callable[[str, Dimension], Any]
"""``draw(label, dimension)`` gives a raw coordinate: a number, or the index of an option."""


@dataclass(frozen=True)
class Distribution:
    """A distribution as the user wrote it; made by the functions below."""

    name: str
    arguments: tuple[float, ...]
    dimension: Dimension

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.arguments))})"

    __repr__ = __str__


@dataclass(frozen=True)
class Choice:
    """One of several options, which may hold distributions of their own; ``is_grid`` for :func:`grid`."""

    options: tuple[Any, ...]
    is_grid: bool = False

    @property
    def dimension(self) -> Dimension:
        """The dimension of the index."""
        return Dimension(kind=Kind.CATEGORICAL, weights=(1.0,) * len(self.options))

    def __str__(self) -> str:
        return f"{'grid' if self.is_grid else 'choice'}({list(self.options)!r})"

    __repr__ = __str__


def uniform(low: float, high: float) -> Distribution:
    """Any number from ``low`` to ``high``, all equally likely."""
    low, high = bounds("uniform", low, high)
    return Distribution("uniform", (low, high), Dimension(kind=Kind.UNIFORM, low=low, high=high))


def loguniform(low: float, high: float) -> Distribution:
    """A positive number from ``low`` to ``high``, in natural units; equal ratios are equally likely."""
    low, high = bounds("loguniform", low, high)
    if low <= 0:
        raise OptionError("loguniform", "must have bounds above 0", low, "e.g. loguniform(1e-5, 1e-1)")
    return Distribution("loguniform", (low, high), Dimension(kind=Kind.LOGUNIFORM, low=low, high=high))


def quniform(low: float, high: float, q: float) -> Distribution:
    """A multiple of ``q`` from ``low`` to ``high``; a whole number if ``q`` is one."""
    low, high = bounds("quniform", low, high)
    q = positive("quniform", "q", q)
    countable("quniform", low, high, q)
    dimension = Dimension(kind=Kind.QUNIFORM, low=low, high=high, q=q)
    if not dimension.count:
        raise OptionError("quniform", f"must have a multiple of {q:g} between its bounds", f"{low} and {high}")
    return Distribution("quniform", (low, high, q), dimension)


def randint(low: int, high: int) -> Distribution:
    """A whole number from ``low`` up to, but not including, ``high``, as numpy's ``integers``."""
    low, high = bounds("randint", low, high)
    if not (float(low).is_integer() and float(high).is_integer()):
        raise OptionError("randint", "must have whole numbers as bounds", f"{low}, {high}", "quniform has steps of any size")
    countable("randint", low, high)
    return Distribution("randint", (low, high), Dimension(kind=Kind.INTEGER, low=int(low), high=int(high) - 1))


def normal(mu: float, sigma: float) -> Distribution:
    """A number around ``mu`` with standard deviation ``sigma``."""
    mu, sigma = finite("normal", mu), positive("normal", "sigma", sigma)
    drawable("normal", mu, sigma)
    return Distribution("normal", (mu, sigma), Dimension(kind=Kind.NORMAL, mu=mu, sigma=sigma))


def lognormal(mu: float, sigma: float) -> Distribution:
    """A positive number whose natural logarithm has mean ``mu`` and standard deviation ``sigma``."""
    mu, sigma = finite("lognormal", mu), positive("lognormal", "sigma", sigma)
    drawable("lognormal", mu, sigma, is_log=True)
    return Distribution("lognormal", (mu, sigma), Dimension(kind=Kind.LOGNORMAL, mu=mu, sigma=sigma))


def choice(options: Sequence[Any]) -> Choice:
    """One of the options; dictionaries among them may hold distributions, which count only where they are chosen."""
    return Choice(_options("choice", options))


def grid(options: Sequence[Any]) -> Choice:
    """One of the options; with ``--search grid`` each of them in turn."""
    return Choice(_options("grid", options), is_grid=True)


DISTRIBUTIONS: Mapping[str, Callable[..., Any]] = {
    made.__name__: made for made in (uniform, loguniform, quniform, randint, normal, lognormal, choice, grid)
}


def _options(name: str, options: Any) -> tuple[Any, ...]:
    if getattr(options, "ndim", 0) and hasattr(options, "tolist"):
        options = options.tolist()  # an array of numpy's, or a column of pandas'
    if isinstance(options, str | bytes) or not isinstance(options, Sequence):
        raise OptionError(name, "must be given a list of options", options, f"e.g. {name}([16, 32, 64])")
    if not options:
        raise OptionError(name, "must have at least one option", options)
    return tuple(options)


@dataclass(frozen=True)
class Space:
    """What a study searches: a distribution, a constant or something nested for each variable of the cell.

    Attributes
    ----------
    items : tuple of (str, object)
        By variable; empty if the space is one hyperopt graph.
    whole : object
        A hyperopt graph whose value is a dictionary, or None.
    """

    items: tuple[tuple[str, Any], ...] = ()
    whole: Any = None

    @classmethod
    def of(cls, given: Any) -> Space:
        """Make a space of a dictionary or of a hyperopt graph.

        Raises
        ------
        UsageError
            If there is nothing to search in it, or it is something else.
        """
        if isinstance(given, Mapping):
            for name in given:
                if not isinstance(name, str) or not name.isidentifier():
                    raise OptionError("space", "must have names of variables as keys", name)
                if keyword.iskeyword(name):
                    remedy = f"rename it, or put it into a dictionary: {{'params': {{'{name}': ...}}}}"
                    raise OptionError("space", "must not have words of Python's own as keys", name, remedy)
            space = cls(items=tuple(given.items()))
        elif _is_graph(given):
            space = cls(whole=given)
        else:
            remedy = "e.g. {'lr': hops.loguniform(1e-5, 1e-1)}"
            raise OptionError(
                "space", "must be a dictionary of distributions or a hyperopt space", type(given).__name__, remedy
            )
        if not space.dimensions():
            raise UsageError(
                "the space is empty: give at least one hyperparameter a distribution, e.g. lr=loguniform(1e-5, 1e-1)"
            )
        return space

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that the cell sees."""
        if self.whole is None:
            return tuple(name for name, _ in self.items)
        return tuple(dict.fromkeys(name for values in self._corners() for name in values))

    @property
    def log_names(self) -> tuple[str, ...]:
        """Variables of a logarithmic scale."""
        return tuple(n for n, d in self.items if isinstance(d, Distribution) and d.dimension.kind.is_log)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every dimension's label, those of options that are not chosen included."""
        return tuple(self.dimensions())

    def dimensions(self) -> dict[str, Dimension]:
        """Return every dimension by label, those of options that are not chosen included."""
        found: dict[str, Dimension] = {}
        sources: dict[str, Any] = {}
        for label, dimension, source in _all_dimensions(self.items if self.whole is None else self.whole):
            # one expression may be used in several places, and is one hyperparameter then
            if sources.setdefault(label, source) is not source:
                raise UsageError(f"two hyperparameters of the space are called {label}: give them different names")
            found[label] = dimension
        return found

    def walk(self, draw: Draw) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluate the space, drawing each active dimension once.

        Returns
        -------
        values : dict
            By variable.
        point : dict
            Raw coordinates by label, only the active ones.
        """
        point: dict[str, Any] = {}

        def once(label: str, dimension: Dimension) -> Any:
            if label not in point:
                point[label] = draw(label, dimension)
            return point[label]

        if self.whole is not None:
            from hops_magic.tuning.graphs import evaluate

            values = evaluate(self.whole, once)
            if not isinstance(values, Mapping):
                raise UsageError(f"the hyperopt space must give dictionaries, whose keys are variables; it gave {values!r}")
            return dict(values), point
        return {name: _evaluate(part, name, once) for name, part in self.items}, point

    def values(self, point: Point) -> dict[str, Any]:
        """Return what the cell sees at a point."""

        def look_up(label: str, _: Dimension) -> Any:
            if label not in point:
                raise UsageError(f"the point has no {label}")
            return point[label]

        return self.walk(look_up)[0]

    def sample(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw a point."""
        return self.walk(lambda _, dimension: dimension.draw(random))[1]

    def point(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the point of known values, given by variable or by label.

        Raises
        ------
        UsageError
            Naming what does not fit.
        """
        from hops_magic.tuning.known import point_of

        return point_of(self, known)

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point of a space that can be counted, the last name changing fastest.

        Raises
        ------
        OptionError
            If a dimension is continuous.
        """
        script: list[int] = []
        while True:
            counts: list[int] = []

            def follow(label: str, dimension: Dimension, counts: list[int] = counts) -> Any:
                count = dimension.count
                if count is None:
                    remedy = f"use {label}=grid([...]), or another search"
                    raise OptionError("--search grid", "needs dimensions that can be counted", label, remedy)
                if len(counts) == len(script):
                    script.append(0)
                counts.append(count)
                return dimension.at(script[len(counts) - 1])

            yield self.walk(follow)[1]
            del script[len(counts) :]
            while script and script[-1] + 1 == counts[len(script) - 1]:
                script.pop()
            if not script:
                return
            script[-1] += 1

    def grid(self, limit: int) -> list[dict[str, Any]]:
        """Return the points of a space that can be counted, ``limit`` of them at most."""
        return list(itertools.islice(self.points(), limit))

    @property
    def is_finite(self) -> bool:
        """Whether every dimension can be counted."""
        return all(dimension.count is not None for dimension in self.dimensions().values())

    def describe(self) -> dict[str, str]:
        """Return the space as text by variable, equal for equal spaces."""
        if self.whole is not None:
            return {"space": _text(self.whole)}
        return {name: _text(part) for name, part in self.items}

    @staticmethod
    def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Say how two descriptions differ."""
        found = [f"{name} is new" for name in now if name not in before]
        found += [f"{name} is gone" for name in before if name not in now]
        found += [f"{n} was {before[n]} and is {now[n]}" for n in now if n in before and before[n] != now[n]]
        return found

    def _corners(self) -> Iterator[dict[str, Any]]:
        """Yield values with each option of the outer choices once, to learn all names."""
        first: dict[str, int] = {}
        todo: list[dict[str, int]] = [first]
        seen: set[str] = set()
        while todo:
            chosen = todo.pop()

            def pick(label: str, dimension: Dimension, chosen: dict[str, int] = chosen) -> Any:
                if dimension.kind is Kind.CATEGORICAL:
                    if label not in chosen and label not in seen:
                        seen.add(label)
                        todo.extend({**chosen, label: index} for index in range(1, len(dimension.weights)))
                    return chosen.get(label, 0)
                return dimension.at(0) if dimension.count else dimension.cast(max(dimension.low, min(dimension.high, 1.0)))

            yield self.walk(pick)[0]


def _is_graph(value: Any) -> bool:
    return type(value).__module__.startswith("hyperopt.pyll")


def _all_dimensions(root: Any) -> Iterator[tuple[str, Dimension, Any]]:
    if _is_graph(root):
        from hops_magic.tuning.graphs import dimensions

        yield from dimensions(root)
        return
    for name, part in root:
        yield from dimensions_of(part, name)


def dimensions_of(part: Any, path: str) -> Iterator[tuple[str, Dimension, Any]]:
    """Yield the label and dimension of each distribution in a part of a space, and the distribution or expression itself."""
    if isinstance(part, Distribution):
        yield path, part.dimension, part
    elif isinstance(part, Choice):
        yield path, part.dimension, part
        for index, option in enumerate(part.options):
            yield from dimensions_of(option, f"{path}[{index}]")
    elif isinstance(part, Mapping):
        for key, inner in part.items():
            yield from dimensions_of(inner, f"{path}.{key}")
    elif isinstance(part, list | tuple):
        for index, inner in enumerate(part):
            yield from dimensions_of(inner, f"{path}.{index}")
    elif _is_graph(part):
        yield from _all_dimensions(part)


def _evaluate(part: Any, path: str, draw: Draw) -> Any:
    if isinstance(part, Distribution):
        return part.dimension.cast(draw(path, part.dimension))
    if isinstance(part, Choice):
        index = int(draw(path, part.dimension))
        return _evaluate(part.options[index], f"{path}[{index}]", draw)
    if isinstance(part, Mapping):
        return {key: _evaluate(inner, f"{path}.{key}", draw) for key, inner in part.items()}
    if isinstance(part, list | tuple):
        made = [_evaluate(inner, f"{path}.{index}", draw) for index, inner in enumerate(part)]
        return made if isinstance(part, list) else tuple(made)
    if _is_graph(part):
        from hops_magic.tuning.graphs import evaluate

        return evaluate(part, draw)
    return part


def _text(part: Any) -> str:
    """Return a part of a space as text, the same in every process."""
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{key!r}: {_text(inner)}" for key, inner in part.items()) + "}"
    if isinstance(part, Choice):
        return f"{'grid' if part.is_grid else 'choice'}([{', '.join(map(_text, part.options))}])"
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_text, part))}]"
    if _is_graph(part):
        # functions in a graph are told with their addresses, which the next process has elsewhere
        return re.sub(r" at 0x[0-9a-f]+", "", str(part))
    if hasattr(part, "__qualname__"):
        return f"{part.__module__}.{part.__qualname__}"
    # the text of an object that says nothing of itself holds its address
    says_nothing = type(part).__repr__ is object.__repr__  # type: ignore[comparison-overlap]
    return type(part).__qualname__ if says_nothing else repr(part)
