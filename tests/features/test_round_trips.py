"""Whatever is written comes back: random names, types, nulls, keys and partitions against a plain model in memory."""

from __future__ import annotations

import datetime
import decimal
import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from plain_values import UTC, plain, quick

from hops_magic.features.store import FeatureStore, request_of
from hops_magic.settings import FeatureSettings

LETTERS = "abAZé=%#?&+:;,'\"\\/[]{}()<>|^~$!-_ü日😀 \u00a0"
names = st.text(LETTERS, min_size=1, max_size=6).filter(
    lambda name: name.strip() and not name.startswith("_hops_") and "//" not in name
)
texts = st.text(LETTERS + "\0\n\u202e*.@`", max_size=5)
moments = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)).map(lambda at: at.replace(tzinfo=UTC))
near = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def whole(bits: int) -> st.SearchStrategy[int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.sampled_from([low, low + 1, -1, 0, 1, high - 1, high]) | st.integers(low, high)


def decimals(digits: int, places: int, *, least: int | None = None) -> st.SearchStrategy[decimal.Decimal]:
    most = 10**digits - 1
    return st.integers(-most if least is None else least, most).map(lambda n: decimal.Decimal(f"{n}e{-places}"))


KEYS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pa.int8(), whole(8)),
    "int64": (pa.int64(), whole(64)),
    "uint8": (pa.uint8(), st.integers(0, 255)),
    "text": (pa.string(), texts),
    "categories": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y", "ü"])),
    "bytes": (pa.binary(), st.binary(max_size=3)),
    "bool": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "time": (pa.timestamp("us", "UTC"), moments),
    "nanoseconds": (pa.timestamp("ns"), near.map(lambda at: at.replace(tzinfo=None))),
    "elsewhere": (pa.timestamp("ms", "Asia/Tokyo"), near.map(lambda at: at.replace(microsecond=0))),
    "decimal": (pa.decimal128(7, 2), decimals(7, 2)),
    "large": (pa.decimal128(38, 0), decimals(38, 0)),
}
KINDS = KEYS | {
    "half": (pa.float16(), st.floats(width=16)),
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
    "numbers": (pa.list_(pa.int64()), st.lists(st.none() | whole(64), max_size=3)),
    "vectors": (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2)),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.string())]), st.fixed_dictionaries({"a": whole(64), "b": texts})),
}
PARTITIONS = {
    kind: KEYS[kind] for kind in ("int8", "int64", "categories", "bool", "date", "time", "elsewhere")
} | {
    "text": (pa.string(), texts.filter(bool)),
    "decimal": (pa.decimal128(7, 2), decimals(7, 2, least=0)),
    "double": (pa.float64(), st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-9)),
}  # fmt: skip
FORMS = ("arrow", "df", "polars", "tf", "dask", "dataset")
numbers = itertools.count()


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[str], list[str]]:
    """A table with some rows, its key and its partition columns."""
    size = draw(st.integers(1, 5))
    wanted = draw(st.lists(names, min_size=2, max_size=5, unique_by=str.casefold))
    keys = draw(st.integers(1, min(2, len(wanted) - 1)))
    parts = 0 if ":" in wanted[keys] else draw(st.integers(0, 1))
    kinds, columns = [], []
    for at in range(len(wanted)):
        table = KEYS if at < keys else PARTITIONS if at < keys + parts else KINDS
        kinds.append(table[draw(st.sampled_from(sorted(table)))])
    rows = draw(st.lists(st.tuples(*(values for _, values in kinds[:keys])), min_size=1, max_size=size, unique_by=repr))
    for at, (kind, values) in enumerate(kinds):
        drawn = [row[at] for row in rows] if at < keys else [draw(st.none() | values) for _ in rows]
        columns.append(pa.array(drawn, kind))
    return pa.table(columns, names=wanted), wanted[:keys], wanted[keys : keys + parts]


def rows_in(answer: Any, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows of an answer in any form, in an order of their own."""
    if isinstance(answer, pa.Table):
        found = answer.select(columns).to_pydict()
    elif isinstance(answer, polars.DataFrame):
        found = {name: answer[name].to_list() for name in columns}
    else:
        found = {name: list(answer[name]) for name in columns}
    return sorted(zip(*([plain(value) for value in found[name]] for name in columns), strict=True), key=repr)


def read(store: FeatureStore, group: str, columns: Sequence[str], form: str) -> list[tuple[Any, ...]]:
    asked = [f"{group}.{name}" for name in columns]
    if form == "dataset":
        store.create_dataset(f"of_{group}", request_of(*asked), statistics=False)
        return rows_in(store.read_dataset(f"of_{group}", form="arrow"), columns)
    answer = store.get(*asked, form=form)
    if form == "dask":
        answer = answer.compute(scheduler="synchronous")
    return rows_in(answer.to_arrow() if form == "tf" else answer, columns)


def given_by(table: pa.Table, library: str) -> Any:
    return {
        "arrow": lambda: table,
        "pandas": lambda: table.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": lambda: polars.from_arrow(table),
    }[library]()


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> FeatureStore:
    home = tmp_path_factory.mktemp("round=trips ü")
    return FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(home)}))


@given(case=tables(), form=st.sampled_from(FORMS), library=st.sampled_from(["arrow", "pandas", "polars"]), data=st.data())
@profile(quick, max_examples=120)
@pytest.mark.filterwarnings("ignore:column .* nanoseconds are cut off")
def test_what_is_written_is_read_in_every_form(lake, case, form, library, data):
    table, keys, parts = case
    group = f"g{next(numbers)}"
    first = data.draw(st.integers(1, table.num_rows))
    lake.save(table.slice(0, first), group, key=keys, partition_by=parts, statistics=False)
    if first < table.num_rows:
        lake.save(given_by(table.take(list(range(first - 1, table.num_rows))), library), group, statistics=False)
    columns = data.draw(st.permutations(table.column_names))
    assert read(lake, group, columns, form) == rows_in(table, columns)
    # keys are found as they were given
    features = [name for name in table.column_names if name not in keys]
    asked = [f"{group}.{name}" for name in features]
    wanted = table.select(keys).take(pa.array(data.draw(st.permutations(range(table.num_rows)))))
    found = lake.get(*asked, form="arrow", **{data.draw(st.sampled_from(["spine", "keys"])): wanted})
    assert rows_in(found, table.column_names) == rows_in(table, table.column_names)


def test_lists_and_structs_are_written_again_after_each_kind_of_change(store):
    def row(number: int, **more: Any) -> pd.DataFrame:
        return pd.DataFrame({"id": [number], "x": [[1.5, number]], "s": [{"a": [number], "b": "t"}], **more})

    store.save(row(1), "g", key="id", statistics=False)
    store.delete_rows("g", where="id = 1", statistics=False)
    store.save(row(2), "g", statistics=False)
    store.save(row(3, n=[7]), "g", evolve=True, statistics=False)
    store.save(row(4, n=[8]), "g", statistics=False)
    nothing = pd.DataFrame({"id": [5], "x": [[]], "s": [{"a": [], "b": None}], "n": [None]})
    store.save(nothing, "g", statistics=False)
    found = store.get("g.*", form="arrow").sort_by("id")
    assert found.column("x").to_pylist() == [[1.5, 2.0], [1.5, 3.0], [1.5, 4.0], []]
    assert found.column("s").to_pylist()[2:] == [{"a": [4], "b": "t"}, {"a": [], "b": None}]
    assert {column.name: column.type for column in store.group("g").columns}["x"] == "list<item: double>"
