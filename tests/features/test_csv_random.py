"""Random tables, written as CSV in random ways by Python and pandas, come back value by value; damaged files are refused."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import lzma
import math
import random
import warnings
import zipfile

import pandas as pd
import pyarrow as pa
import pytest

from hops_magic.errors import UsageError
from hops_magic.features.exchange import import_file

SEEDS = range(120)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-16-le")
PACKINGS = ("", ".gz", ".zip", ".bz2", ".xz")
DATE_FORMATS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%Y/%m/%d")
ALPHABET = "abcXYZ 0123456789.,;:|'-+éß~\t\n"
KINDS = ("whole", "long", "number", "truth", "day", "moment", "zoned", "text", "formatted", "nothing")
ARROW = {
    "whole": pa.int64(),
    "long": pa.decimal128(38, 0),
    "number": pa.float64(),
    "truth": pa.bool_(),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
    "zoned": pa.timestamp("us", "UTC"),
    "text": pa.string(),
    "formatted": pa.date32(),
    "nothing": pa.string(),
}


class Written:
    """A random table and the way in which it is written."""

    def __init__(self, seed, folder):
        self.chance = random.Random(seed)
        pick = self.chance.choice
        self.decimal = pick(".....,")
        self.delimiter = pick(",;\t|" if self.decimal == "." else ";\t|")
        self.quote = pick('"""\'')
        self.ends = pick(("\n", "\r\n", "\r"))
        self.encoding = pick(ENCODINGS)
        self.packing = pick(PACKINGS)
        self.date_format = pick(DATE_FORMATS)
        self.null = pick(("", "NA", "null", "-", "n/a", "None", "missing"))
        self.quoting = pick((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
        self.rows = pick((1, 2, 7, 60))
        self.kinds = ["whole", *(pick(KINDS) for _ in range(self.chance.randint(1, 6)))]
        self.names = [f"{kind} {at}" + pick(("", ",", " b", '"', "é")) for at, kind in enumerate(self.kinds)]
        self.columns = [self.values(kind, has_nulls=at > 0) for at, kind in enumerate(self.kinds)]
        self.place = folder / f"t.csv{self.packing}"

    def values(self, kind, *, has_nulls):
        share = self.chance.choice((0, 0.3)) if has_nulls else 0
        values = [None if kind == "nothing" or self.chance.random() < share else self.value(kind) for _ in range(self.rows)]
        # at least one that tells the type
        first = {"long": decimal.Decimal(2**63), "text": "text, or so", "number": 0.5}.get(kind)
        return [first, *values[1:]] if first is not None else values

    def value(self, kind):
        chance = self.chance
        if kind == "whole":
            return chance.choice((0, -1, 7, 2**63 - 1, -(2**63), chance.randint(-(10**6), 10**6)))
        if kind == "long":
            return decimal.Decimal(chance.randint(-(10**38) + 1, 10**38 - 1))
        if kind == "number":
            return chance.choice((0.1, -2.5, 1e300, 5e-324, math.inf, chance.uniform(-1e3, 1e3), chance.random() * 1e-9))
        if kind == "truth":
            return chance.random() < 0.5
        if kind == "text":
            text = "".join(chance.choices(ALPHABET + self.quote, k=chance.randint(0, 12)))
            # csv quotes the line ends that it writes
            return text.replace("\n", self.ends[0]) or None
        day = datetime.date(1970, 1, 1) + datetime.timedelta(chance.randint(0, 20_000))
        if kind in ("day", "formatted"):
            return day
        moment = datetime.datetime.combine(
            day, datetime.time(chance.randint(0, 23), chance.randint(0, 59), chance.randint(0, 59))
        )
        moment += datetime.timedelta(microseconds=chance.choice((0, 1, 500_000)))
        return moment if kind == "moment" else moment.replace(tzinfo=datetime.UTC)

    def text(self, value, kind):
        if value is None:
            return self.null
        if kind == "number":
            return repr(value).replace(".", self.decimal)
        if kind == "truth":
            return self.chance.choice(("true", "True", "TRUE") if value else ("false", "False", "FALSE"))
        if kind == "formatted":
            return value.strftime(self.date_format)
        if kind == "zoned" and self.chance.random() < 0.5:
            there = value.astimezone(datetime.timezone(datetime.timedelta(hours=self.chance.randint(-11, 11), minutes=30)))
            return there.isoformat(sep=self.chance.choice(" T"))
        return value.isoformat(sep=self.chance.choice(" T")) if kind in ("moment", "zoned") else str(value)

    def write(self):
        texts = [[self.text(value, kind) for value in values] for values, kind in zip(self.columns, self.kinds, strict=True)]
        out = io.StringIO(newline="")
        how = {"quotechar": self.quote, "quoting": self.quoting, "lineterminator": self.ends}
        if self.chance.random() < 0.3:
            frame = pd.DataFrame(dict(zip(self.names, texts, strict=True)), dtype=object)
            frame.to_csv(out, sep=self.delimiter, index=False, **how)
        else:
            writer = csv.writer(out, delimiter=self.delimiter, **how)
            writer.writerows([self.names, *zip(*texts, strict=True)])
        self.place.write_bytes(packed(out.getvalue().encode(self.encoding), self.packing))

    @property
    def options(self):
        said = {"delimiter": self.delimiter, "quote": self.quote, "decimal": self.decimal}
        if self.null in ("-", "missing"):
            said["nulls"] = [self.null]
        if "formatted" in self.kinds and any(self.columns[self.kinds.index("formatted")]):
            said["date_format"] = self.date_format
        if self.encoding in ("latin-1", "cp1252", "utf-16-le"):
            said["encoding"] = self.encoding
        return said


def packed(data, ending):
    if ending == ".zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside.csv", data)
        return out.getvalue()
    return {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[ending](data)


@pytest.mark.parametrize("seeds", [SEEDS[at::6] for at in range(6)], ids=range(6))
def test_random_tables_come_back_value_by_value(tmp_path, seeds):
    for seed in seeds:
        written = Written(seed, tmp_path)
        written.write()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = import_file(str(written.place), **written.options)
        told = f"seed {seed}: {written.options}"
        assert read.column_names == written.names, told
        for name, kind, values in zip(written.names, written.kinds, written.columns, strict=True):
            has_values = any(value is not None for value in values)
            assert read.schema.field(name).type == (ARROW[kind] if has_values else pa.string()), (told, name)
            assert read[name].to_pylist() == values, (told, name)


@pytest.mark.parametrize("seed", range(60))
def test_files_with_a_letter_too_few_or_too_many_are_read_as_strictly_as_python_does_or_refused(tmp_path, seed):
    chance = random.Random(seed)
    rows = [["".join(chance.choices('ab",\n', k=chance.randint(0, 5))) for _ in range(3)] for _ in range(8)]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)), lineterminator="\n").writerows(rows)
    text, at = out.getvalue(), chance.randrange(len(out.getvalue()))
    text = text[:at] + chance.choice(('"', ",", "", "")) + text[at + chance.randint(0, 1) :]
    file = tmp_path / "t.csv"
    file.write_text(text, newline="")
    try:
        wanted = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        wanted = []
    options = {"delimiter": ",", "names": ["a", "b", "c"], "types": dict.fromkeys("abc", str), "no_default_nulls": True}
    if not wanted or any(len(row) != 3 for row in wanted):
        with pytest.raises(UsageError, match=r"t\.csv, line \d"):
            import_file(str(file), **options)
        return
    read = import_file(str(file), **options)
    assert [[value or "" for value in row.values()] for row in read.to_pylist()] == wanted
