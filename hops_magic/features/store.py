"""The feature store: one object for all that can be done with it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hops_magic.features import engine, finding
from hops_magic.features.catalog import Catalog
from hops_magic.features.comparing import Difference, difference
from hops_magic.features.dataset_store import Datasets
from hops_magic.features.errors import FeatureError
from hops_magic.features.finding import Match
from hops_magic.features.folders import check_place
from hops_magic.features.foreign_keys import columns_named, foreign_keys_of
from hops_magic.features.lake import LakeTable
from hops_magic.features.model import Commit, Group
from hops_magic.features.moments import ages_of, moment_of
from hops_magic.features.names import parse_group
from hops_magic.features.opening import open_table
from hops_magic.features.past import commit_at
from hops_magic.features.quarantine import quarantine_of, read_aside
from hops_magic.features.query import Terms
from hops_magic.features.readers import STREAMED, as_form, as_streamed
from hops_magic.features.reading import Explanation, Reader, Request, reads_of
from hops_magic.features.writing import ON_FAIL, SaveOptions, Writer, Written, existing_group
from hops_magic.runs.inputs import FeatureInput
from hops_magic.settings import FeatureSettings

if TYPE_CHECKING:
    from hops_magic.features.answers import AnswerRows
    from hops_magic.features.column_statistics import Statistics
    from hops_magic.features.distribution_drift import Drift
    from hops_magic.features.rules import Rule


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class FeatureStore(Datasets):
    """Feature groups in a lake of tables, found and joined by name.

    Parameters
    ----------
    settings : FeatureSettings, optional
        Where it is; by default as the environment says.
    clock : callable, optional
        Returns the time, with its zone.

    Raises
    ------
    StoreError
        If the catalog cannot be opened.
    """

    def __init__(self, settings: FeatureSettings | None = None, *, clock: Callable[[], datetime.datetime] = _now) -> None:
        check_place(settings := settings or FeatureSettings.from_environment())
        catalog = Catalog(settings.catalog)
        super().__init__(settings, catalog, Reader(settings, catalog, self.opened), clock)
        self._writer = Writer(settings, catalog, clock, self.opened)

    # writing

    def save(
        self,
        data: Any,
        group: str,
        *,
        key: Sequence[str] | str = (),
        event_time: str | None = None,
        mode: str = "auto",
        partition_by: Sequence[str] | str = (),
        description: str | None = None,
        tags: Sequence[str] | str = (),
        column_descriptions: Mapping[str, str] | None = None,
        foreign_keys: Sequence[str] | str = (),
        evolve: bool = False,
        on_fail: str | None = None,
        allow_future: bool = False,
        statistics: bool = True,
        source: str = "",
        run_id: str = "",
    ) -> Written:
        """Write rows to a group, in one atomic commit; a group that does not exist is made.

        Parameters
        ----------
        data
            A table of pandas, polars, Arrow, Dask or DuckDB, a mapping of columns or a list of mappings.
        group
            ``name`` or ``name@version``.
        key, event_time, partition_by
            Columns; said when the group is made. Rows are told apart by key and event time.
        mode
            ``auto`` (make or upsert), ``create``, ``append``, ``upsert`` or ``version`` (begin the next version).
        foreign_keys
            ``"column=group.key"``: columns that hold another group's key.
        evolve
            Accept new columns and wider types; the table is then written anew.
        on_fail
            What to do with rows that break a rule: ``reject``, ``quarantine`` or ``warn``.
        allow_future
            Accept event times that are still to come.
        statistics
            Compute statistics of the group after the write.

        Raises
        ------
        FeatureError
            If the rows cannot be written; then nothing was.
        """
        options = SaveOptions(
            mode=mode,
            key=columns_named(key),
            event_time=event_time,
            partition_by=columns_named(partition_by),
            describe=description,
            tags=columns_named(tags),
            evolve=evolve,
            on_fail=on_fail,
            allow_future=allow_future,
            no_stats=not statistics,
            column_descriptions=dict(column_descriptions or {}),
            foreign_keys=foreign_keys_of(foreign_keys),
        )
        return self.write(data, group, options, source=source, run_id=run_id)

    def write(self, data: Any, group: str, options: SaveOptions, *, source: str = "", run_id: str = "") -> Written:
        """Write rows to a group; as :meth:`save`, with its options as one value."""
        return self._writer.save(data, group, options, source=source, run_id=run_id)

    def delete_rows(
        self,
        group: str,
        *,
        keys: Any = None,
        where: str | None = None,
        statistics: bool = True,
        source: str = "",
        run_id: str = "",
    ) -> Written:
        """Delete rows by key, or those for which a condition of SQL over the columns holds, in one atomic commit."""
        return self._writer.delete(group, keys=keys, where=where, statistics=statistics, source=source, run_id=run_id)

    def edit(
        self,
        group: str,
        *,
        description: str | None = None,
        tags: Sequence[str] | str | None = None,
        column_descriptions: Mapping[str, str] | None = None,
        foreign_keys: Sequence[str] | str | None = None,
        rules: Sequence[Rule] | None = None,
        on_fail: str | None = None,
    ) -> Group:
        """Change what is said of a group; its rows stay."""
        from hops_magic.features.checking import check_foreign_keys, check_new_group
        from hops_magic.features.columns import described

        if on_fail is not None and on_fail not in ON_FAIL:
            raise FeatureError(f"--on-fail must be one of {', '.join(ON_FAIL)}, got {on_fail[:80]!r}")
        found = self.group(group)
        with self.catalog.writing(found.name):
            found = self.group(group)
            changed = replace(
                found,
                description=found.description if description is None else description,
                tags=found.tags if tags is None else columns_named(tags),
                columns=described(found.columns, column_descriptions or {}, None),
                foreign_keys=found.foreign_keys if foreign_keys is None else foreign_keys_of(foreign_keys),
                rules=found.rules if rules is None else tuple(rule.to_json() for rule in rules),
                on_fail=on_fail or found.on_fail,
            )
            check_new_group(changed)
            if foreign_keys is not None:
                check_foreign_keys(changed.foreign_keys, changed, self.catalog)
            if rules:
                from hops_magic.features.validation import check_rules

                with engine.connect() as connection:
                    check_rules(connection, rules, changed.columns, changed.event_time)
            self.catalog.change(changed)
        return changed

    def drop(self, group: str) -> list[Group]:
        """Delete a version of a group for good, with its rows and their past; all versions if none is said."""
        name = parse_group(group)
        first = existing_group(self.catalog, name)
        gone = [first] if name.version is not None else self.catalog.versions(name.name)
        with self.catalog.writing(name.name):
            for each in gone:
                self.catalog.remove(each)
                for location in (each.location, quarantine_of(each)):
                    if LakeTable.exists(location):
                        LakeTable(location).destroy()
        return gone

    # reading

    def get(
        self,
        *names: str,
        form: str = "df",
        spine: Any = None,
        event_time: str | None = None,
        keys: Any = None,
        on: Sequence[str] | str = (),
        as_of: datetime.datetime | int | str | None = None,
        max_age: Mapping[str, datetime.timedelta | str] | datetime.timedelta | str | None = None,
        exclude_late: bool = False,
        allow_fanout: bool = False,
        with_keys: bool = False,
        limit: int | None = None,
    ) -> Any:
        """Return features by name, joined.

        Parameters
        ----------
        names
            ``feature``, ``group.feature``, ``group@version.feature`` or ``group.*``; columns come back in this order.
        form
            ``df`` (pandas), ``polars``, ``arrow``, ``dask`` or ``tf``.
        spine, event_time
            Rows to find features for, and their column of the moment at which values must have been known (``<=``). The
            answer is the spine, in its order, with the features beside it.
        keys
            Keys to look up present values of: a mapping of columns, or any table.
        on
            Foreign keys by which a group is joined that has several ways, e.g. ``"home"``; of several, as in
            ``("home", "away")``, each gives its columns with its name before theirs: ``home_town``, ``away_town``.
        as_of
            Read the groups as they were at a time (without a zone: UTC; ``"2024-05-01"``), or at a commit's number.
        max_age
            Age at which a value counts as unknown, for all groups or by name of the group: a timedelta, or ``"7d"``.
        exclude_late
            Leave out rows that were written after the moment they are asked for.
        allow_fanout
            Accept a join that gives a row several times.
        with_keys
            Put the base group's key before the features.

        Raises
        ------
        FeatureError
            If names are unknown or ambiguous, or groups cannot be joined.
        """
        request = request_of(
            *names,
            spine=spine,
            event_time=event_time,
            keys=keys,
            on=on,
            as_of=as_of,
            max_age=max_age,
            exclude_late=exclude_late,
            allow_fanout=allow_fanout,
            with_keys=with_keys,
            limit=limit,
        )
        return self.answer(request, form)

    def answer(self, request: Request, form: str = "df") -> Any:
        """Return the answer to a request in a form."""
        if form in STREAMED:
            rows, plan, sources = self._reader.streamed(request)
            self._note(reads_of(plan, sources))
            return as_streamed(rows, form)
        answer, plan, sources = self._reader.answer(request, form)
        self._note(reads_of(plan, sources))
        return answer

    def shown(self, request: Request) -> AnswerRows:
        """Return the answer to a request for somebody to look at, of which only what is looked at is read."""
        answer, plan, sources = self._reader.shown(request)
        self._note(reads_of(plan, sources))
        return answer

    def take_reads(self) -> tuple[FeatureInput, ...]:
        """Return what has been read since this was last asked."""
        taken, self._reads = tuple(self._reads), []
        return taken

    def explain(self, request: Request) -> Explanation:
        """Tell how a request is answered: groups, keys, commits, rows before and after, SQL."""
        return self._reader.explain(request)

    # looking around

    def group(self, reference: str) -> Group:
        """Return a group; the latest version if none is said."""
        return existing_group(self.catalog, parse_group(reference))

    def groups(self, *, limit: int | None = None, offset: int = 0) -> list[Group]:
        """Return the latest version of each group, by name."""
        return self.catalog.groups(limit=limit, offset=offset)

    def versions(self, name: str) -> list[Group]:
        """Return the versions of a group, newest first."""
        existing_group(self.catalog, parse_group(name))
        return self.catalog.versions(parse_group(name).name)

    def search(self, text: str, *, limit: int = 50, offset: int = 0) -> list[Match]:
        """Return groups and features whose name, tags or description contain all words of a text, best first."""
        return self.search_page(text, limit=limit, offset=offset)[0]

    def search_page(self, text: str, *, limit: int = 50, offset: int = 0) -> tuple[list[Match], int]:
        """Search as :meth:`search`; tell also how many matches there are in all."""
        return finding.search(self.catalog.entries(text.casefold().split()), text, offset, offset + limit)

    def history(self, group: str) -> list[Commit]:
        """Return the commits of a group, newest first."""
        found, _ = self.opened(self.group(group))
        return [commit for commit in reversed(self.catalog.commits(found)) if commit.operation.changes_rows]

    def diff(
        self, group: str, before: int | datetime.datetime, after: int | datetime.datetime | None = None, *, limit: int = 20
    ) -> Difference:
        """Compare a group's rows at two commits or times; the newest if the second is not said."""
        found, table = self.opened(self.group(group))
        first = commit_at(self.catalog, found, before)
        second = table.version if after is None else commit_at(self.catalog, found, after)
        return difference(found, first, second, limit)

    def statistics(self, group: str, commit: int | datetime.datetime | None = None) -> Statistics:
        """Return the statistics of a group at a commit; computed now if that write left them out."""
        from hops_magic.features import column_statistics

        found, table = self.opened(self.group(group))
        number = table.version if commit is None else commit_at(self.catalog, found, commit)
        kept = self.catalog.statistics(found, number)
        if kept is not None:
            return column_statistics.Statistics.from_json(kept)
        with engine.connect() as connection:
            LakeTable(found.location, number).register(connection, "written")
            computed = column_statistics.compute(connection, "written", found.columns)
        self.catalog.save_statistics(found, number, computed.to_json())
        return computed

    def drift(self, group: str, before: int | datetime.datetime, after: int | datetime.datetime | None = None) -> Drift:
        """Compare the distributions of a group's features at two commits or times."""
        from hops_magic.features import distribution_drift

        found, table = self.opened(self.group(group))
        first = commit_at(self.catalog, found, before)
        second = table.version if after is None else commit_at(self.catalog, found, after)
        with engine.connect() as connection:
            LakeTable(found.location, first).register(connection, "earlier")
            LakeTable(found.location, second).register(connection, "later")
            features = [column for column in found.columns if column.name not in found.row_key]
            return distribution_drift.drift(connection, "earlier", "later", features)

    def quarantined(self, group: str, form: str = "df") -> Any:
        """Return the rows of a group that broke a rule and were put aside, with the rules that they broke."""
        return as_form(read_aside(self.group(group)), form)

    def opened(self, group: Group) -> tuple[Group, LakeTable]:
        """Open a group's table, after the catalog has taken in commits of writers that died before they told it."""
        return open_table(self.catalog, group)


def request_of(
    *names: str,
    spine: Any = None,
    event_time: str | None = None,
    keys: Any = None,
    on: Sequence[str] | str = (),
    as_of: datetime.datetime | int | str | None = None,
    max_age: Mapping[str, datetime.timedelta | str] | datetime.timedelta | str | None = None,
    exclude_late: bool = False,
    allow_fanout: bool = False,
    with_keys: bool = False,
    limit: int | None = None,
) -> Request:
    """Make a request for features; the parameters are those of :meth:`FeatureStore.get`."""
    return Request(
        names=tuple(names),
        terms=Terms(max_age=ages_of(max_age), exclude_late=exclude_late, with_keys=with_keys, limit=limit),
        spine=spine,
        event_time=event_time,
        keys=keys,
        on=columns_named(on),
        as_of=as_of if as_of is None else moment_of(as_of),
        allow_fanout=allow_fanout,
    )
