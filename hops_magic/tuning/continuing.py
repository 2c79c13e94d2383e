"""Go on with a study that has ended: what must be as it was, what is taken over, and what the user should know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hops_magic.cells.report import CaptureReport, Way
from hops_magic.errors import OptionError, UsageError
from hops_magic.runs.events import Event
from hops_magic.runs.study import Direction, Study, recalled
from hops_magic.tuning.comparing import first_difference
from hops_magic.tuning.options import TuneOptions
from hops_magic.tuning.searches import SEARCHES
from hops_magic.tuning.stopping import RULES, make_rule

if TYPE_CHECKING:
    from hops_magic.tuning.preparing import PreparedStudy

_PLAIN = frozenset({"int", "float", "str", "bool"})
_MIXED = frozenset({"dict", "list", "set", "tuple", "frozenset"})
_OF_RULES = ("grace", "reduction", "max_steps")


def how_of(search: Any, stop: Any, options: TuneOptions, seed: int) -> dict[str, Any]:
    """Return how a study searches and stops, which one that continues it takes over where nothing else is said."""
    named = {"search": search, "stop": stop}
    return {
        **{name: given if isinstance(given, str) else type(given).__name__ for name, given in named.items()},
        **{name: getattr(options, name) for name in _OF_RULES},
        "seed": seed,
    }


def data_of(report: CaptureReport) -> dict[str, str]:
    """Return hashes of the data that a cell takes along; what else it takes may be pickled in another way each time."""
    return {
        row.name: row.content_hash
        for row in report.rows
        if row.content_hash and (row.shape or row.type in _PLAIN) and row.type not in _MIXED and row.way is not Way.DASK
    }


def continued(
    prepared: PreparedStudy, before: Study, description: Mapping[str, Any], *, was_lost: bool = False
) -> PreparedStudy:
    """Return a study that goes on where ``before`` ended.

    Parameters
    ----------
    was_lost
        Whether its cluster ended before it: it may have all its trials, and only its own end is missing.

    Raises
    ------
    UsageError
        If it has another cell or space now, saying what differs; or if it has all its trials already.
    """
    differences = differences_of(description, prepared.description())
    if differences:
        raise UsageError(f"--resume {before.name}: this is another study: {'; '.join(differences)}")
    has_all = len(before.trials) >= prepared.options.trials and all(t.state.is_final for t in before.trials.values())
    if has_all and not was_lost:
        raise OptionError(
            "--trials", f"must be more than {len(before.trials)}, which {before.name} has already", prepared.options.trials
        )
    data, known = data_of(prepared.trial.captured.report), description.get("data", {})
    if changed := [name for name in data if name in known and known[name] != data[name]]:
        told = f"not the same as in the trials before: {', '.join(changed)}"
        prepared = replace(prepared, warnings=(*prepared.warnings, told))
    prepared = _as_before(prepared, description.get("how", {}))
    trial = replace(prepared.trial, run_id=before.run_id, name=before.name, experiment=before.experiment)
    return replace(prepared, trial=trial, before=before)


def _as_before(prepared: PreparedStudy, how: Mapping[str, Any]) -> PreparedStudy:
    """Take over search, stopping rule and seed where they are not said anew."""
    if prepared.options.seed is None and "seed" in how:
        prepared = replace(
            prepared,
            trial=replace(prepared.trial, seed=how["seed"]),
            options=replace(prepared.options, seed=how["seed"]),
        )
    if prepared.search == TuneOptions.search and how.get("search", "auto") != prepared.search:
        if how["search"] not in SEARCHES:
            raise _own_is_missing("--search", how["search"], prepared)
        prepared = replace(prepared, search=how["search"], options=replace(prepared.options, search=how["search"]))
    if prepared.stop == TuneOptions.stop and "stop" in how:
        if how["stop"] not in RULES:
            raise _own_is_missing("--stop", how["stop"], prepared)
        asked = {name: getattr(prepared.options, name) or how[name] for name in _OF_RULES}
        make_rule(how["stop"], grace=asked["grace"], reduction=asked["reduction"], max_steps=asked["max_steps"])
        prepared = replace(prepared, stop=how["stop"], options=replace(prepared.options, stop=how["stop"], **asked))
    return prepared


def _own_is_missing(option: str, was: str, prepared: PreparedStudy) -> UsageError:
    return UsageError(f"--resume {prepared.options.resume}: name {option} again, which was an object of your own, a {was}")


def study_of(run_id: str, description: Mapping[str, Any], events: Iterable[Event]) -> Study:
    """Return a study that has ended, from its description and its journal, to be gone on with."""
    beginning = Study(
        run_id=run_id,
        name=description["name"],
        experiment=description["experiment"],
        metric=description["metric"],
        direction=Direction(description["direction"]),
        names=tuple(description["names"]),
        log_names=tuple(description["log_names"]),
        object_names=tuple(description.get("object_names", ())),
    )
    study = recalled(beginning, events)
    if study.names:
        return study
    # an ablation searches no space: its trials say what they leave out
    names = tuple(dict.fromkeys(name for trial in study.trials.values() for name in trial.values))
    return replace(study, names=names, is_ablation=description.get("is_ablation", "left_out" in names))


def differences_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which ways two descriptions of studies differ."""
    from hops_magic.tuning.space import Space

    found = []
    if differs := first_difference(str(before.get("source", "")), now["source"]):
        found.append(differs)
    found += Space.differences(before.get("space", {}), now["space"])
    for name in ("metric", "direction"):
        if before.get(name) != now[name]:
            found.append(f"the {name} was {before.get(name)} and is {now[name]}")
    return found
