"""The built-in searches, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from hops_magic.errors import OptionError
from hops_magic.tuning.search import Point, Search
from hops_magic.tuning.searches.distinct import Distinct

if TYPE_CHECKING:
    from hops_magic.tuning.searches.engine import Engine
    from hops_magic.tuning.space import Space

SEARCHES = ("auto", "tpe", "anneal", "random", "grid", "optuna")


def make_search(name: str, space: Space, *, seed: int, stopping: str = "median", start_with: Sequence[Point] = ()) -> Search:
    """Return a search by name.

    ``auto`` is Optuna's multivariate TPE, which was never clearly worse than hyperopt's TPE, and mostly better; with
    ``asha`` and ``hyperband`` it is hyperopt's TPE, since a multivariate one locks onto early survivors.

    Raises
    ------
    OptionError
        For a name that is none.
    """
    check_search(name)
    if name == "auto":
        name = "tpe" if stopping in ("asha", "hyperband") else "optuna"
    if name == "grid":
        from hops_magic.tuning.searches.gridding import GridSearch

        return GridSearch(space, start_with)
    return Distinct(_engine(name, space, seed), space, seed, start_with, learns=name != "random")


def check_search(name: str) -> None:
    """Refuse a name that is no built-in search.

    Raises
    ------
    OptionError
        With the nearest name.
    """
    if name not in SEARCHES:
        close = get_close_matches(name, SEARCHES, n=1)
        raise OptionError(
            "search", f"must be one of {', '.join(SEARCHES)}", name, f"did you mean {close[0]}?" if close else ""
        )


def _engine(name: str, space: Space, seed: int) -> Engine:
    if name == "optuna":
        from hops_magic.tuning.searches.optuna import OptunaEngine

        return OptunaEngine(space, seed)
    from hops_magic.tuning.searches.hyperopt import HyperoptEngine

    return HyperoptEngine(space, seed, name)
