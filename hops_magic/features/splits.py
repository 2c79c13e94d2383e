"""Splitting rows: by share, with a seed, or by time."""

from __future__ import annotations

import datetime
import itertools
import math
import numbers
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.features.engine import rows_of, value_of
from hops_magic.features.errors import FeatureError
from hops_magic.features.moments import moment_of
from hops_magic.features.sql import literal, quoted

if TYPE_CHECKING:
    import duckdb

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class SplitByShare:
    """Shares that sum to one; which rows go where depends on the seed and the rows' order alone."""

    shares: Mapping[str, float]
    seed: int

    def __post_init__(self) -> None:
        _check_names(self.shares)
        for name, share in self.shares.items():
            if not 0 < share <= 1:
                raise FeatureError(f"the share of split {name} must be above 0 and at most 1, got {share:g}")
        total = math.fsum(self.shares.values())
        # shares may come in float32
        if abs(total - 1) > 1e-6:
            raise FeatureError(f"the shares of the splits must sum to 1, got {total:g}: {_told(self.shares)}")


@dataclass(frozen=True)
class SplitByTime:
    """Ends of splits, exclusive and in order; the last may have none."""

    ends: Mapping[str, str]
    column: str | None

    def __post_init__(self) -> None:
        _check_names(self.ends)
        if self.column is None:
            raise FeatureError("--split-by-time needs rows with an event time: say which column with --time-column")
        values = list(self.ends.values())
        if "" in values[:-1]:
            raise FeatureError("only the last split of --split-by-time may be without an end")
        moments = [_moment(value) for value in values if value]
        if any(later <= earlier for earlier, later in itertools.pairwise(moments)):
            raise FeatureError(f"the ends of --split-by-time must follow each other, got {', '.join(filter(None, values))}")


def shares_of(split: Any) -> dict[str, float]:
    """Read the share of each split.

    Raises
    ------
    FeatureError
        If it is none.
    """
    found: dict[str, Any] = dict(split) if isinstance(split, Mapping) else {}
    if not found or not all(isinstance(share, numbers.Real) and not isinstance(share, bool) for share in found.values()):
        raise FeatureError(f"a split by share is a mapping such as {{'train': .8, 'test': .2}}, got {repr(split)[:80]}")
    return {name: float(share) for name, share in found.items()}


def ends_of(split_by_time: Any) -> dict[str, str]:
    """Read the end of each split: a time, or one as a text; None or nothing for the last.

    Raises
    ------
    FeatureError
        If it is none.
    """
    if not isinstance(split_by_time, Mapping):
        raise FeatureError(
            f"a split by time is a mapping such as {{'train': '2024-05-01', 'test': None}}, got {repr(split_by_time)[:80]}"
        )
    found = {name: None if end is None or end == "" else moment_of(end) for name, end in split_by_time.items()}
    number = next((name for name, end in found.items() if isinstance(end, int)), None)
    if number is not None:
        raise FeatureError(f"split {number} must end at a time, e.g. 2024-05-01, got {split_by_time[number]!r}")
    return {name: end.isoformat() if isinstance(end, datetime.datetime) else "" for name, end in found.items()}


def parts_of(connection: duckdb.DuckDBPyConnection, sql: str, rule: SplitByShare | SplitByTime) -> dict[str, str]:
    """Return a query for each split, whose rows come in the order of ``sql``.

    Raises
    ------
    FeatureError
        If a split has no rows.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE numbered AS SELECT row_number() OVER () AS _hops_n, * FROM ({sql})")
    if isinstance(rule, SplitByShare):
        parts = _by_share(connection, rule)
    else:
        kind = rows_of(connection, f"SELECT typeof({quoted(rule.column or '')}) AS kind FROM numbered LIMIT 1")
        if kind and not kind[0]["kind"].startswith(("TIMESTAMP", "DATE")):
            raise FeatureError(f"the time of --split-by-time must be a column of times, and {rule.column} is not")
        parts = _by_time(rule)
        _tell_left_out(connection, rule)
    queries = {
        name: f"SELECT * EXCLUDE (_hops_n) FROM numbered WHERE {condition} ORDER BY _hops_n"
        for name, condition in parts.items()
    }
    for name, query in queries.items():
        if not value_of(connection, f"SELECT count(*) FROM ({query})"):
            raise FeatureError(f"split {name} would have no rows: give it a larger share, or more time")
    return queries


def _by_share(connection: duckdb.DuckDBPyConnection, rule: SplitByShare) -> dict[str, str]:
    total = int(value_of(connection, "SELECT count(*) FROM numbered"))
    if len(rule.shares) == 1:
        return dict.fromkeys(rule.shares, "TRUE")
    # a hash that no version of the engine changes
    drawn = f"md5(_hops_n::VARCHAR || ':' || {literal(str(rule.seed))})"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE drawn AS "
        f"SELECT _hops_n AS n, row_number() OVER (ORDER BY {drawn}, _hops_n) AS place FROM numbered"
    )
    parts, done, share = {}, 0, 0.0
    for name, each in rule.shares.items():
        share += each
        # rounding each sum, not each share, keeps every split within a row of its share
        end = total if name == list(rule.shares)[-1] else round(share * total)
        parts[name] = f"_hops_n IN (SELECT n FROM drawn WHERE place > {done} AND place <= {end})"
        done = end
    return parts


def _by_time(rule: SplitByTime) -> dict[str, str]:
    column = f"{quoted(rule.column or '')}::TIMESTAMPTZ"
    parts, begin = {}, ""
    for name, end in rule.ends.items():
        conditions = [f"{column} >= {literal(begin)}::TIMESTAMPTZ"] if begin else []
        conditions += [f"{column} < {literal(end)}::TIMESTAMPTZ"] if end else [f"{column} IS NOT NULL"]
        parts[name] = " AND ".join(conditions)
        begin = end
    return parts


def _tell_left_out(connection: duckdb.DuckDBPyConnection, rule: SplitByTime) -> None:
    """Warn of rows that no split takes."""
    column = quoted(rule.column or "")
    name, end = list(rule.ends.items())[-1]
    late = f"{column}::TIMESTAMPTZ >= {literal(end)}::TIMESTAMPTZ" if end else "FALSE"
    counts = f"SELECT count(*) FILTER ({late}) AS late, count(*) FILTER ({column} IS NULL) AS timeless FROM numbered"
    found = rows_of(connection, counts)[0]
    told = [f"{found['late']:,} from {end} on, where split {name} ends"] if found["late"] else []
    told += [f"{found['timeless']:,} without a time"] if found["timeless"] else []
    if told:
        warnings.warn(f"rows that are in no split: {', and '.join(told)}", stacklevel=2)


def _moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _check_names(parts: Mapping[str, object]) -> None:
    for name in parts:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FeatureError(f"a split is named with letters, digits and _, got {repr(name)[:80]}")


def _told(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={share:g}" for name, share in shares.items())
