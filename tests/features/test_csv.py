"""CSV files: what is made of their values, what is refused with which words, and what comes back of what was exported."""

import csv
import dataclasses
import datetime
import decimal
import gzip
import io
import math
import os
import random
import re
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from hops_magic.errors import OptionError, UsageError
from hops_magic.features import csv_reading, csv_records
from hops_magic.features.csv_options import PANDAS_NULLS, CsvOptions
from hops_magic.features.errors import FeatureError
from hops_magic.features.exchange import export_file, import_file, open_file
from hops_magic.options import parser_for, spec_of

UTC = datetime.UTC
DAY = datetime.date(2024, 4, 3)


@pytest.fixture
def read(tmp_path):
    """Reads text as a file; warnings are errors unless they are expected."""

    def read(text, name="t.csv", **options):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return import_file(str(file), **options)

    return read


@pytest.fixture
def told(tmp_path):
    """Reads text as a file, and returns the table and what was said about it."""

    def told(text, **options):
        file = tmp_path / "t.csv"
        file.write_text(text, newline="")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            table = import_file(str(file), **options)
        return table, [str(each.message) for each in said]

    return told


def column(values, **options):
    return "id,x\n" + "".join(f"{at},{value}\n" for at, value in enumerate(values))


@pytest.mark.parametrize("marker", PANDAS_NULLS)
def test_the_null_markers_of_pandas_are_null_and_do_not_make_text_of_numbers(read, marker):
    text = column(["39.02", marker, f" {marker} "])
    table = read(text)
    assert table["x"].to_pylist() == [39.02, None, None]
    assert pd.read_csv(io.StringIO(column(["39.02", marker])))["x"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (["1", "-2", " 3 "], pa.int64(), [1, -2, 3]),
        (["1", "2.5", "-.5", "5.", "1e3", "+0.5"], pa.float64(), [1, 2.5, -0.5, 5, 1000, 0.5]),
        (["1.5", "inf", "-Infinity"], pa.float64(), [1.5, math.inf, -math.inf]),
        ([str(2**63 - 1), str(-(2**63))], pa.int64(), [2**63 - 1, -(2**63)]),
        ([str(2**63), "7"], pa.decimal128(38, 0), [decimal.Decimal(2**63), decimal.Decimal(7)]),
        (["true", "FALSE", "True"], pa.bool_(), [True, False, True]),
        (["2024-04-03", "NA"], pa.date32(), [DAY, None]),
        (
            ["2024-04-03", "2024-04-03 10:30"],
            pa.timestamp("us"),
            [datetime.datetime(2024, 4, 3), datetime.datetime(2024, 4, 3, 10, 30)],
        ),
        (
            ["2024-04-03T10:30:00Z", "2024-04-03 10:30:00.5+02:00"],
            pa.timestamp("us", "UTC"),
            [
                datetime.datetime(2024, 4, 3, 10, 30, tzinfo=UTC),
                datetime.datetime(2024, 4, 3, 8, 30, 0, 500_000, tzinfo=UTC),
            ],
        ),
        (["a", " b ", "2"], pa.string(), ["a", " b ", "2"]),
        (["yes", "no"], pa.string(), ["yes", "no"]),
        (["0x10", "x"], pa.string(), ["0x10", "x"]),
        (["12:30", "13:45"], pa.string(), ["12:30", "13:45"]),
    ],
)
def test_types_are_found_by_all_values(read, values, kind, wanted):
    table = read(column(values))
    assert table.schema.field("x").type == kind
    assert table["x"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ["00123", "10115"],
            r"column x is kept as text: as a number, '00123' would be 123; say types=\{'x': 'int'\} if it is one",
        ),
        (["+4930123", "+4930124"], r"'\+4930123' would be 4930123"),
        (
            ["03/04/2024", "04/04/2024"],
            "'03/04/2024' is meant is not guessed: say date_format='%d/%m/%Y' or date_format='%m/%d/%Y'",
        ),
        (["03.04.24 12:00", "04.04.24 12:00"], "date_format='%d.%m.%y' or date_format='%m.%d.%y', with the time behind it"),
        (["2024/04/03", "2024/12/31"], "say date_format='%Y/%m/%d'$"),
        (['"1,234"', "7"], "'1,234' is no number as they are written by default: say thousands=','"),
        (["1.234.567", "7.000"], "say thousands='.', decimal=','"),
        (['"1,5"', '"2,25"'], "'1,5' is no number as they are written by default: say decimal=','"),
        (["1", "2.5", "missing"], r"'missing' is none of the numbers that its other values are; say nulls=\['missing'\] if"),
        (["2024-02-30", "2024-04-04"], "column x is kept as text: there is no '2024-02-30'; mend it, say nulls="),
        (["2024-04-03 25:00", "2024-04-04T10:00Z"], "column x is kept as text: there is no '2024-04-03 25:00'; mend it"),
        (["2024-04-03", "2024-04-04", "2024-02-30"], "'2024-02-30' is none of the dates|is kept as text"),
        (["true", "false", "maybe"], "'maybe' is none of the truth values"),
        (["9007199254740993", "0.5"], "have more digits, than others leave room for"),
        (["1e999", "1"], "are larger, or have more digits"),
        (["2024-04-03T10:00:00Z", "2024-04-03T10:00:00"], r"some have none; say types=\{'x': 'time'\} if those are in UTC"),
        (["NA", "de", "fr"], "column x: 'NA' was taken for missing values: say no_default_nulls=True if it is a value"),
        (["", ""], r"column x is empty, and kept as text: types=\{'x': 'float'\} makes numbers of it"),
    ],
)
def test_nothing_is_guessed_and_what_may_be_meant_otherwise_is_told(told, values, words):
    table, said = told(column(values), delimiter=",")
    assert table.schema.field("x").type == pa.string()
    wanted = [None if value in PANDAS_NULLS else value.strip('"') for value in values]
    assert table["x"].to_pylist() == wanted
    (sentence,) = said
    assert re.search(words, sentence), sentence


def test_a_value_beyond_the_first_blocks_counts(told, monkeypatch):
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 1_000)
    table, said = told(column([*range(5_000), "x"]))
    assert table.schema.field("x").type == pa.string()
    assert table["x"].to_pylist() == [*map(str, range(5_000)), "x"]
    assert "'x' is none of the whole numbers" in said[0]


def test_digits_beyond_microseconds_are_cut_with_a_word(told):
    table, said = told(column(["2024-04-03 10:00:00.123456789", "2024-04-03 10:00:00"]))
    assert table["x"].to_pylist()[0] == datetime.datetime(2024, 4, 3, 10, 0, 0, 123456)
    assert "nanoseconds are cut off" in said[0]


@pytest.mark.parametrize(
    ("text", "options", "wanted"),
    [
        ("a;b\n1;1,5\n2;-2,25\n", {"decimal": ","}, [1.5, -2.25]),
        ("a;b\n1;1.234,5\n2;7\n", {"decimal": ",", "thousands": "."}, [1234.5, 7]),
        ('a,b\n1,"1,234"\n2,"1,234,567"\n', {"thousands": ","}, [1234, 1234567]),
        ("a,b\n1,1 234\n2,7\n", {"thousands": " "}, [1234, 7]),
        ("a,b\n1,03/04/2024\n2,31/12/2024\n", {"date_format": "%d/%m/%Y"}, [DAY, datetime.date(2024, 12, 31)]),
        ("a,b\n1,Apr 3 2024 10AM\n", {"date_format": "%b %d %Y %I%p"}, [datetime.datetime(2024, 4, 3, 10)]),
        ("a,b\n1,20240403\n", {"date_format": "%Y%m%d", "types": {"b": "date"}}, [DAY]),
        ("a,b\n1,-\n2,5\n", {"nulls": "-"}, [None, 5]),
        ("a,b\n1,NA\n2,\n", {"no_default_nulls": True}, ["NA", None]),
        ('a,b\n1,"NA"\n2,""\n3,\n4,NA\n5,x\n', {"quoted_text": True}, ["NA", "", None, None, "x"]),
        ('a,b\n1,"5"\n2,""\n3,\n', {"quoted_text": True}, [5, None, None]),
        ("a,b\n1,00123\n", {"types": {"b": "text"}}, ["00123"]),
        ("a,b\n1,00123\n", {"types": {"b": int}}, [123]),
        ("a,b\n1,0.10\n", {"types": {"b": "decimal(10,2)"}}, [decimal.Decimal("0.10")]),
        ("a,b\n1,1\n2,no\n3,T\n", {"types": {"b": bool}}, [True, False, True]),
        ("a,b\n1,'x,y'\n", {"quote": "'"}, ["x,y"]),
        ('a,b\n1,5" pipe\n2,"x\n', {"quote": ""}, ['5" pipe', '"x']),
        ("a,b\n1,x\\,y\n", {"escape": "\\"}, ["x,y"]),
        ("a\tb\n1\tx\n", {}, ["x"]),
        ("a|b\n1|x,y\n", {}, ["x,y"]),
        ("# made on Monday, by 'us'\n\na,b\n1,x\n", {"skip_rows": 1}, ["x"]),
        ("1,x\n2,y\n", {"names": ["a", "b"]}, ["x", "y"]),
        ("old,names\n1,x\n", {"names": ["a", "b"], "skip_rows": 1}, ["x"]),
        ("a,b\r\n1,x\r\n\r\n2,y", {}, ["x", "y"]),
        ("a,b\r1,x\r2,y\r", {}, ["x", "y"]),
        ("a,b\n1,x\0y\n", {}, ["x\0y"]),
    ],
)
def test_files_are_read_as_the_options_say(read, text, options, wanted):
    assert read(text, **options)["b"].to_pylist() == wanted


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "utf-16-be", "gb18030"])
def test_encodings(read, encoding):
    said = {} if encoding.startswith("utf") and encoding != "utf-16-be" else {"encoding": encoding}
    assert read("née,b\n1,é\n".encode(encoding), **said).to_pylist() == [{"née": 1, "b": "é"}]


def test_columns_without_names(read):
    assert read("1,x\n2,y\n", no_header=True).to_pylist() == [{"column0": 1, "column1": "x"}, {"column0": 2, "column1": "y"}]
    assert read(",b\n0,x\n").column_names == ["column0", "b"]


def test_an_empty_line_is_a_row_only_where_there_is_one_column(read):
    assert read("a\n1\n\n3\n")["a"].to_pylist() == [1, None, 3]
    assert read("a,b\n1,2\n\n3,4\n")["a"].to_pylist() == [1, 3]


REFUSED = {
    "empty": ("", {}, r"t\.csv is empty: there is nothing to read"),
    "a row too long": ('a,b\n1,"x\ny"\n2,3,4\n', {}, r"t\.csv, line 4: there are 3 values, and 2 columns \(a, b\)"),
    "a row too short": ("a,b,c\n1,2\n", {}, r"line 2: there are 2 values, and 3 columns"),
    "an end of row in other files": ("a;b\n1;2;3\n", {}, r"line 2: there are 3 values, and 2 columns"),
    "names twice": ("id,x,x\n1,2,3\n", {}, r"line 1: columns 2 and 3 are both named 'x'.*names and skip_rows=1"),
    "no names": ("1,39.02\n2,38.5\n", {}, r"line 1: '1,39.02' reads like values.*no_header=True, or names"),
    "too many names": ("1,2\n", {"names": "a"}, r"line 1: there are 2 values, but 1 name in names"),
    "two delimiters": ("a;b,c\n1;2,3\n", {}, r"cut into values at , or ;: say which, e\.g\. delimiter=','"),
    "an open quote": ('a,b\n1,"x\n2,y\n', {}, r'line 2: a value of this row begins with " that nothing ends.*quote=\'\''),
    "an open quote in a name": ('a,"b\n1,2\n', {}, r'line 1: a value of this row begins with " that nothing ends'),
    "rows joined by a quote": ('a,b\n1,"x\n2,"y"\n', {}, r'line 2: a value in " is not followed by the delimiter'),
    "a wrong byte": (
        b"a,b\n1,x\n2,caf\xe9\n",
        {},
        r"line 3: the byte 0xe9 after '2,caf' is not text in utf-8.*encoding='cp1252'",
    ),
    "UTF-16 without a mark": ("a,b\n1,x\n".encode("utf-16-le"), {}, r"NUL characters.*encoding='utf-16'"),
    "a mark of another": ("\ufeffa,b\n1,2\n".encode(), {"encoding": "latin-1"}, r"mark of utf-8, so it is not latin-1"),
    "a value of another type": (
        'a,b\n1,"x\ny"\n2,z\n',
        {"types": {"a": "int", "b": "float"}},
        r"line 2, column b: 'x\\ny' is no number",
    ),
    "a value in a later line": (
        'a,b\n"1\n2",x\n',
        {"types": {"b": "float"}},
        r"line 3, column b: 'x' is no number: mend it, or say nulls=",
    ),
    "a date in another form": (
        "a,b\n1,03/04/2024\n",
        {"types": {"b": "date"}},
        r"line 2.*is not guessed: say date_format='%d/%m/%Y'",
    ),
    "a number in another form": ('a,b\n1,"1,5"\n', {"types": {"b": "float"}}, r"'1,5' is no number as .*: say decimal=','"),
    "a number too large": ("a,b\n1,300\n", {"types": {"b": "int8"}}, r"line 2, column b: '300' is no whole number \(int8\)"),
    "a number that would be rounded": (
        "a,b\n1,9007199254740993\n",
        {"types": {"b": "float"}},
        r"'9007199254740993' is no number",
    ),
    "digits that do not fit": (
        "a,b\n1,1.234\n",
        {"types": {"b": "decimal(4,2)"}},
        r"'1\.234' is no number that fits into decimal\(4,2\)",
    ),
    "no such day": (
        "a,b\n1,31/02/2024\n",
        {"types": {"b": "date"}, "date_format": "%d/%m/%Y"},
        r"is no date .* of the form %d/%m/%Y",
    ),
    "a form of nothing": (
        "a,b\n1,x\n",
        {"date_format": "%d/%m/%Y"},
        r"no column has dates of the form %d/%m/%Y: mend date_format",
    ),
    "a form of most": (
        column(["03/04/2024", "31/02/2024"]),
        {"date_format": "%d/%m/%Y"},
        r"\(column x is kept as text: '31/02/2024' is not of the form",
    ),
    "a type of nothing": (
        "a,bee\n1,2\n",
        {"types": {"be": "int"}},
        r"types names a column 'be' that is not there: did you mean bee",
    ),
    "a type that is none": ("a\n1\n", {"types": {"a": "nope"}}, r"types must be text, int, .* for column a, got nope"),
    "an option that is none": ("a\n1\n", {"delimitor": ";"}, r"delimitor is no option of this call.*did you mean delimiter"),
    "a delimiter of two": ("a\n1\n", {"delimiter": "::"}, r"delimiter must be one character of ASCII, got ::"),
    "quote and delimiter": ("a\n1\n", {"delimiter": '"'}, r"quote must be another character than delimiter"),
    "an encoding that is none": ("a\n1\n", {"encoding": "utf-9"}, r"encoding must be one that Python knows"),
    "an encoding of bytes": ("a\n1\n", {"encoding": "base64"}, r"encoding must be one of texts"),
    "a form without a day": ("a\n1\n", {"date_format": "%H:%M"}, r"date_format must have a day, a month and a year"),
    "thousands like decimals": (
        "a\n1\n",
        {"thousands": "."},
        r"thousands must be one character that is no part of a number",
    ),
    "names twice in names": ("1,2\n", {"names": ["a", "a"]}, r"names must name each column once"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence_that_says_where(read, name):
    text, options, words = REFUSED[name]
    with pytest.raises((FeatureError, OptionError), match=words) as raised:
        read(text, **options)
    assert "\n" not in str(raised.value)
    assert "--" not in str(raised.value)


def zipped(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "a,b\n1,x\n")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 9_000)[:-20], r"t\.csv\.gz is damaged or cut off"),
        ("t.csv.gz", b"a,b\n1,2\n", "damaged or cut off .*Not a gzipped file"),
        ("t.csv.zip", zipped("a.csv", "b.csv"), r"must hold one file, and holds 2 \(a\.csv, b\.csv\): unpack it"),
        ("t.csv.zip", zipped(), r"holds 0 \(none\)"),
        ("t.csv.zip", b"PK\3\4 and then nothing", "damaged or cut off"),
        ("t.csv.xz", b"\xfd7zXZ\0nothing", "damaged or cut off"),
        ("t.csv.bz2", b"nothing", "damaged or cut off"),
        ("t.csv.zst", b"\x28\xb5\x2f\xfdnothing", "damaged or cut off"),
    ],
    ids=["gzip cut off", "no gzip", "two files", "no files", "zip cut off", "no xz", "no bzip2", "no zstd"],
)
def test_packed_files_that_are_damaged_are_refused(read, name, data, words):
    with pytest.raises(FeatureError, match=words):
        read(data, name)


def test_packed_files_are_known_by_what_is_in_them_too(read):
    assert read(gzip.compress(b"a,b\n1,x\n"))["b"].to_pylist() == ["x"]
    assert read(zipped("__MACOSX/._t.csv", "t.csv"), "t.tsv.zip", delimiter=",")["b"].to_pylist() == ["x"]
    assert read(pa.Codec("zstd").compress(b"a,b\n1,x\n").to_pybytes(), "t.csv.zst")["b"].to_pylist() == ["x"]


def test_a_file_that_is_changed_while_it_is_read_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_text(column(range(100)))
    batches = csv_records.batches

    def meanwhile(source, layout):
        yield from batches(source, layout)
        file.write_text(column(range(200)))

    monkeypatch.setattr(csv_records, "batches", meanwhile)
    with pytest.raises(FeatureError, match=r"t\.csv was changed while it was read: import it again"):
        import_file(str(file))


def test_more_than_memory_should_hold_goes_through_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_reading, "_MOST_HELD_BYTES", 10_000)
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 4_000)
    file = tmp_path / "t.csv"
    file.write_text(column([*range(5_000), "NA", "0.5"]))
    table = import_file(str(file))
    assert table["x"].to_pylist() == [*map(float, range(5_000)), None, 0.5]
    asked = import_file(f"SELECT count(*) AS n, count(b.x) AS m FROM '{file}' a JOIN '{file}' b USING (id)")
    assert asked.to_pylist() == [{"n": 5_002, "m": 5_001}]


@pytest.fixture
def folder(tmp_path):
    """Files of one kind in folders named key=value, and what other programs leave beside them."""
    for day, text in (("2024-04-03", "id,x\n1,7\n"), ("2024-04-04", "x,id\nNA,2\n"), ("2024-04-05", "id,x\n3,0.5\n")):
        (tmp_path / "logs" / f"day={day}").mkdir(parents=True)
        (tmp_path / "logs" / f"day={day}" / "part [0].csv").write_text(text)
    (tmp_path / "logs" / "_SUCCESS").write_text("")
    (tmp_path / "logs" / "day=2024-04-03" / ".part.csv").write_text("x")
    return tmp_path / "logs"


@pytest.mark.parametrize("place", ["", "/", "/*/*.csv", "/**/part*.csv", "/day=2024-04-0[345]/part*"])
def test_folders_and_patterns_mean_their_files_and_no_column(folder, place):
    table = import_file(f"{folder}{place}")
    assert table.to_pydict() == {"id": [1, 2, 3], "x": [7.0, None, 0.5]}


def test_folders_are_columns_if_that_is_said(folder):
    table = import_file(str(folder), path_columns=True)
    assert table["day"].to_pylist() == [datetime.date(2024, 4, day) for day in (3, 4, 5)]
    one = import_file(str(folder / "day=2024-04-03" / "part [0].csv"), path_columns=True)
    assert one.to_pydict() == {"id": [1], "x": [7], "day": [datetime.date(2024, 4, 3)]}
    (folder / "day=2024-04-03" / "part [0].csv").write_text("id,day\n1,7\n")
    with pytest.raises(FeatureError, match="has a column 'day', and a folder above it gives one of that name"):
        import_file(str(folder), path_columns=True)


def test_a_folder_does_not_replace_a_column_of_a_file(tmp_path):
    place = tmp_path / "id=9"
    place.mkdir()
    (place / "t.csv").write_text("id,x\n1,7\n")
    export_file(pa.table({"id": [1], "x": [7]}), str(place / "t.parquet"))
    for ending in ("csv", "parquet"):
        file = place / f"t.{ending}"
        assert import_file(str(file)).to_pydict() == {"id": [1], "x": [7]}
        assert import_file(f"SELECT * FROM '{file}'").to_pydict() == {"id": [1], "x": [7]}
        with pytest.raises(FeatureError, match="has a column 'id', and a folder above it"):
            import_file(str(file), path_columns=True)


def test_files_that_do_not_belong_together_are_refused(folder):
    (folder / "other.csv").write_text("id,y\n4,5\n")
    with pytest.raises(
        FeatureError, match=r"other\.csv has not the columns of the files before it: x, y in one of them alone"
    ):
        import_file(str(folder))
    with pytest.raises(FeatureError, match="must be named key=value, alike for all files"):
        import_file(str(folder), path_columns=True)
    (folder / "other.csv").unlink()
    (folder / "other.parquet").write_bytes(b"")
    with pytest.raises(FeatureError, match="both CSV and Parquet files"):
        import_file(str(folder))
    for place, words in (
        (f"{folder}/none*.csv", "there is no file that matches"),
        (f"{folder}/none.csv", r"there is no file .*none\.csv$"),
        (f"{folder}/_SUCCESS", "is no file that can be read"),
        ("s3://bucket/x.csv", "is no file of this machine"),
    ):
        with pytest.raises(FeatureError, match=words):
            import_file(place)


def test_a_file_that_does_not_fit_into_memory_is_saved_in_parts(tmp_path, monkeypatch, store):
    monkeypatch.setattr(csv_reading, "_MOST_HELD_BYTES", 10_000)
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 4_000)
    file = tmp_path / "t.csv"
    file.write_text("id,x\n" + "".join(f"{at},{at / 2 if at % 7 else ''}\n" for at in range(3_000)))
    with open_file(str(file), CsvOptions(), pytest.fail, store=store) as rows:
        assert isinstance(rows, pa.RecordBatchReader)
        store.save(rows, "halves", key="id")
    found = store.get("halves.x", with_keys=True, form="arrow").sort_by("id")
    assert found["x"].to_pylist() == [at / 2 if at % 7 else None for at in range(3_000)]


def test_files_of_a_query_are_read_as_by_themselves(told, tmp_path):
    table, _ = told("id,zip,d,x\n1,00123,03/04/2024,NA\n2,10115,04/04/2024,1\n")
    file = tmp_path / "t.csv"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        asked = import_file(f"SELECT * FROM '{file}' ORDER BY id")
    assert asked.to_pydict() == table.to_pydict()
    assert len(said) == 2
    kept = "a.zip = '00123' AND a.zip NOT IN ('x', 'y.csv')"
    joined = import_file(
        f"WITH a AS (FROM '{file}') SELECT b.d FROM a JOIN \"{file}\" b USING (id) WHERE {kept}",
        date_format="%d/%m/%Y",
        types={"zip": "text"},
    )
    assert joined["d"].to_pylist() == [DAY]
    with pytest.raises(FeatureError, match=r"there is no file /nowhere/x\.csv"):
        import_file("SELECT * FROM '/nowhere/x.csv'")


def test_a_row_longer_than_a_block_is_refused(read, monkeypatch):
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 2_000)
    with pytest.raises(FeatureError, match="has a row of more than"):
        read(f"a,b\n1,{'x' * 50_000}\n2,y\n")


def test_the_files_of_a_delta_table_are_not_taken_for_its_rows(tmp_path):
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    with pytest.raises(FeatureError, match="is a table of Delta Lake, not all of whose files count"):
        import_file(str(tmp_path / "table"))


def test_remarks_on_many_columns_are_few(told):
    names = [f"c{at}" for at in range(60)]
    _, said = told(",".join(names) + "\n" + ",".join(["01"] * 30 + [""] * 30) + "\n")
    assert len(said) == 21
    assert said[-1] == "there are 11 more such remarks on columns: look at some rows"


def test_options_of_csv_files_are_refused_where_none_is_read(tmp_path):
    export_file(pa.table({"id": [1]}), str(tmp_path / "t.parquet"))
    for place in (str(tmp_path / "t.parquet"), f"SELECT * FROM '{tmp_path}/t.parquet'", "SELECT 1 AS id"):
        with pytest.raises(FeatureError, match=r"delimiter is an option of CSV files, and .* is none: leave it out"):
            import_file(place, delimiter=";")


def test_every_option_is_in_the_docs():
    told = (
        (Path(__file__).parents[2] / "docs" / "features.md").read_text().partition("## CSV files")[2].partition("\n## ")[0]
    )
    options = [item.name for item in dataclasses.fields(CsvOptions) if not spec_of(item).hidden]
    assert [name for name in options if f"`{name}`" not in told] == []
    assert all(str(import_file.__doc__).count(f"``{name}``") for name in options)


def test_options_of_a_line_are_those_of_python():
    words = ["--types", "zip=text,a,b=decimal(10,2)", "--types", "at=time", "--nulls=-,none", "--delimiter", "\\t"]
    made = CsvOptions(**vars(parser_for(CsvOptions, "import").parse_args([*words, "--skip-rows", "2"])))
    wanted = {"zip": "text", "a,b": "decimal(10,2)", "at": "time"}
    assert made == CsvOptions(types=wanted, nulls=["-", "none"], delimiter="\t", skip_rows=2)
    with pytest.raises(UsageError, match="gives zip twice, as text and int"):
        parser_for(CsvOptions, "import").parse_args(["--types", "zip=text,zip=int"])
    with pytest.raises(UsageError, match="not written NAME=VALUE"):
        parser_for(CsvOptions, "import").parse_args(["--types", "zip"])


def test_values_are_read_as_a_group_has_them(read, store_of_types):
    table = read("id,zip,share,at,n\n1,10115,1,2024-04-03,7.5\n", store=store_of_types, group="towns")
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    # the store tells whether others may be brought to whole numbers
    assert kinds == {"id": "int64", "zip": "string", "share": "float", "at": "timestamp[us, tz=UTC]", "n": "double"}
    with pytest.raises(
        FeatureError, match=r"line 3, column n: 'x' is no whole number .* since the group's column is of type int64"
    ):
        read("id,n\n1,7\n2,x\n", store=store_of_types, group="towns")


@pytest.fixture
def store_of_types(store):
    rows = pa.table(
        {
            "id": [1],
            "zip": ["00123"],
            "share": pa.array([0.1], pa.float32()),
            "at": pa.array([datetime.datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "n": [1],
        }
    )
    store.save(rows, "towns", key="id")
    return store


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_exported_rows_come_back_value_by_value(tmp_path, ending):
    chance = random.Random(7)
    texts = ["", "NA", "null", "a,b", 'a "b"', "x\ny", " x ", "é", None, "naïve"]
    for _ in range(20):
        rows = chance.randint(1, 40)

        def some(make, share=0.2, rows=rows):
            return [None if chance.random() < share else make() for _ in range(rows)]

        table = pa.table(
            {
                "id": pa.array(range(rows), pa.int64()),
                "text": pa.array(["text", *some(lambda: chance.choice(texts))[1:]], pa.string()),
                "number": pa.array(
                    [0.5, *some(lambda: chance.choice((0.1, 1e300, 1e22, -1.5, math.inf, chance.random())))[1:]]
                ),
                "day": pa.array([DAY, *some(lambda: DAY)[1:]], pa.date32()),
                "at": pa.array(some(lambda: datetime.datetime(2024, 4, 3, 1, 2, 3, chance.randint(0, 999_999), UTC), 0)),
                "truth": pa.array([True, *some(lambda: chance.random() < 0.5)[1:]], pa.bool_()),
            }
        )
        file = str(tmp_path / f"t{ending}")
        said = []
        export_file(table, file, tell=said.append)
        back = import_file(file, quoted_text=True)
        assert back.to_pydict() == table.to_pydict()
        doubtful = sum(text in PANDAS_NULLS for text in table["text"].to_pylist() if text is not None)
        assert any(f"column text: {doubtful} text" in each for each in said) == (doubtful > 0)


def test_what_csv_cannot_keep_is_told_when_it_is_written(tmp_path):
    said = []
    table = pa.table({"x": [0.5, math.nan], "v": [[1, 2], [3]], "b": [b"1", b"2"]})
    export_file(table, str(tmp_path / "t.csv"), tell=said.append)
    assert [each.split(":")[0].split(" is of")[0] for each in said] == ["column x", "column v", "column b"]
    with pytest.warns(UserWarning, match="NaN, in 1 row, will be read as missing"):
        export_file(table, str(tmp_path / "t.csv"))
    export_file(table, str(tmp_path / "t.parquet"), tell=said.append)
    assert len(said) == 3


def test_python_s_limit_of_long_values_stays_as_it_is(read):
    before = csv.field_size_limit()
    text = "x" * 200_000
    assert read(f'a,b\n1,"{text}"\n')["b"].to_pylist() == [text]
    assert csv.field_size_limit() == before


def test_a_file_of_one_row_without_an_end(read):
    assert read("a,b\n1,x").to_pylist() == [{"a": 1, "b": "x"}]
    assert read("a,b\n").num_rows == 0
    assert os.linesep == "\n"


def test_a_place_may_be_a_path_and_a_query_may_have_lines(tmp_path):
    (tmp_path / "a.csv").write_text("id,a\n1,2\n")
    assert import_file(tmp_path / "a.csv").to_pydict() == {"id": [1], "a": [2]}
    assert import_file(f"\nSELECT\n  a\nFROM '{tmp_path}/a.csv'").to_pydict() == {"a": [2]}
    assert export_file(pd.DataFrame({"n": [1, 2]}), tmp_path / "b.csv") == 2
    assert import_file(tmp_path / "b.csv").to_pydict() == {"n": [1, 2]}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda file: import_file([file]), "a file is named by its path, a pattern or a folder, as one text, got"),
        (lambda file: import_file(" "), "a file is named by its path"),
        (
            lambda file: import_file(file, nulls=["-", None]),
            "nulls must be texts, as they are written in the file, got None",
        ),
        (lambda file: import_file(file, nulls=[-999]), "nulls must be texts, as they are written in the file, got -999"),
        (lambda file: import_file(file, types=["int"]), "types must be a mapping of columns to types"),
        (lambda file: import_file(file, delimiter=""), "delimiter must be one character of ASCII, got ''"),
        (lambda file: import_file(file, date_format="%d/%m/%Y %z"), "date_format must be without %z and %Z"),
        (lambda file: export_file(5, file), "what is exported must be a table"),
    ],
)
def test_arguments_of_another_type_are_refused_in_a_sentence(tmp_path, call, said):
    (tmp_path / "a.csv").write_text("id,a\n1,2\n")
    with pytest.raises(UsageError, match=said):
        call(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_the_half_of_utf_16_that_a_file_is_in_is_told(read, encoding):
    with pytest.raises(FeatureError, match=f"encoding='{encoding}'"):
        read("id,a\n1,ü\n".encode(encoding))
