"""Records of a CSV file: where they begin, what their columns are called, and whether each is whole."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hops_magic.errors import counted
from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.csv_source import CsvSource, TextStream, from_line, line_ends
from hops_magic.features.errors import FeatureError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# a row may be as long
BLOCK_BYTES = 8 * 2**20
_LONGEST_VALUE = 64 * 2**20
_SAMPLE_CHARS = 2**18
_DELIMITERS = (",", ";", "\t", "|")
_VALUE = re.compile(r"[-+]?[\d.,:/ TZ+-]*\d[\d.,:/ TZ+-]*([eE][+-]?\d+)?")
_SHOWN = 60
_LINE_ENDS = (10, 13)


@dataclass(frozen=True)
class Layout:
    """How the records of a file are laid out.

    Attributes
    ----------
    names : tuple of str
        Its columns.
    delimiter : str
        What is between values.
    first_line : int
        The line (from 0) at which the first row begins.
    """

    names: tuple[str, ...]
    delimiter: str
    first_line: int


def layout_of(source: CsvSource) -> Layout | None:
    """Find the columns of a file; None if nothing is in it.

    Raises
    ------
    FeatureError
        If names are missing, or rows could be cut in several ways.
    """
    options, skipped = source.options, source.options.skip_rows
    with source.lines(skipped) as lines, _long_values():
        sample = list(_first(lines, _SAMPLE_CHARS))
        if not any(line.strip("\r\n") for line in sample):
            return None
        delimiter = options.delimiter or _delimiter(source, sample, is_cut=sum(map(len, sample)) > _SAMPLE_CHARS)
        reader = _reader(itertools.chain(sample, lines), options, delimiter, strict=True)
        begun = 0
        record: list[str] = []
        with _telling(source, lambda: skipped + begun + 1):
            while not record:
                begun, record = reader.line_num, next(reader)
    line = skipped + begun + 1
    if options.names or options.no_header:
        names = options.names or tuple(f"column{at}" for at in range(len(record)))
        if len(names) != len(record):
            raise FeatureError(
                f"{source.name}, line {line:,}: there {_are(len(record))}, but {counted(len(names), 'name')} in "
                f"{options.name('names')}"
            )
        return Layout(names, delimiter, skipped + begun)
    return Layout(_checked_names(source, record, line), delimiter, skipped + reader.line_num)


def _are(number: int) -> str:
    return f"{'is' if number == 1 else 'are'} {counted(number, 'value')}"


def _first(lines: Iterator[str], most: int) -> Iterator[str]:
    seen = 0
    for line in lines:
        yield line
        seen += len(line)
        if seen > most:
            return


def _checked_names(source: CsvSource, record: Sequence[str], line: int) -> tuple[str, ...]:
    where, options = f"{source.name}, line {line:,}", source.options
    if any("\0" in name for name in record):
        raise FeatureError(f"{where}: there are NUL characters: if it is UTF-16, say {options.say(encoding='utf-16')}")
    # an index of pandas has no name
    names = [name if name.strip() else f"column{at}" for at, name in enumerate(record)]
    if all(not name.strip() or name in options.null_markers or _VALUE.fullmatch(name.strip()) for name in record):
        raise FeatureError(
            f"{where}: {','.join(record)[:_SHOWN]!r} reads like values, not like names of columns: say "
            f"{options.say(no_header=True)}, or {options.name('names')} with their names"
        )
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        places = " and ".join(str(at + 1) for at, name in enumerate(names) if name == twice)
        raise FeatureError(
            f"{where}: columns {places} are both named {twice[:_SHOWN]!r}: rename one, or say {options.name('names')} and "
            f"{options.say(skip_rows=line)}"
        )
    return tuple(names)


def _delimiter(source: CsvSource, sample: Sequence[str], *, is_cut: bool) -> str:
    """Return what cuts all rows of the beginning into as many values; where several do, it is not guessed."""
    ending = next((end for end in source.path.suffixes[::-1] if end.lower() in (".csv", ".tsv")), "")
    if ending.lower() == ".tsv":
        return "\t"
    found, of_names = [], []
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error):
            widths = [len(record) for record in _reader(sample, source.options, delimiter) if record]
            if widths[0] > 1:
                of_names.append(delimiter)
                if set(widths[:-1] if is_cut else widths) == {widths[0]}:
                    found.append(delimiter)
    if len(found) > 1:
        shown = " or ".join("a tab" if each == "\t" else each for each in found)
        remedy = source.options.say(delimiter=found[0])
        raise FeatureError(f"{source.name}: rows can be cut into values at {shown}: say which, e.g. {remedy}")
    # a row that is not whole is told by whoever reads it
    return next(iter(found or of_names), ",")


def _reader(lines: Iterable[str], options: CsvOptions, delimiter: str, *, strict: bool = False) -> Any:
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=options.quote or None,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
        escapechar=options.escape,
        strict=strict,
    )


@contextlib.contextmanager
def _long_values() -> Iterator[None]:
    """Let Python's reader take long values for a ``with`` block; its limit is one of the process."""
    limit = csv.field_size_limit(_LONGEST_VALUE)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@contextlib.contextmanager
def _telling(source: CsvSource, line: Any) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        reason = str(error)
        quote, where = source.options.quote, f"{source.name}, line {line():,}"
        remedy = f"mend the row, or say {source.options.say(quote='')} if quotes are part of the values"
        if "expected after" in reason:
            raise FeatureError(
                f"{where}: a value in {quote} is not followed by the delimiter or the end of the row: {remedy}"
            ) from error
        if "unexpected end" in reason or "field limit" in reason:
            raise FeatureError(f"{where}: a value of this row begins with {quote} that nothing ends: {remedy}") from error
        raise FeatureError(f"{where}: the row cannot be read ({reason}): {remedy}") from error


def records(source: CsvSource, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line (from 1) at which it begins.

    Raises
    ------
    FeatureError
        At a row that is not whole, or has another number of values than there are columns.
    """
    width, begun = len(layout.names), 0
    with source.lines(layout.first_line) as lines, _long_values():
        reader = _reader(lines, source.options, layout.delimiter, strict=True)
        with _telling(source, lambda: layout.first_line + begun + 1):
            for record in reader:
                line = layout.first_line + begun + 1
                begun = reader.line_num
                if not record and width > 1:
                    continue
                # an empty line is a row where there is only one column
                whole = record or [""]
                if len(whole) != width:
                    raise FeatureError(
                        f"{source.name}, line {line:,}: there {_are(len(whole))}, and {counted(width, 'column')} "
                        f"({', '.join(layout.names)[:_SHOWN]}): mend the row, or say {source.options.name('delimiter')} or "
                        f"{source.options.name('quote')} if it was cut in the wrong places, or "
                        f"{source.options.name('skip_rows')} if other lines come before the names"
                    )
                yield line, whole


def line_of(source: CsvSource, layout: Layout, row: int, column: int) -> int:
    """Return the line (from 1) in which a value begins, as an editor shows it."""
    line, record = next(itertools.islice(records(source, layout), row, None))
    return line + sum(map(line_ends, record[:column]))


class QuoteCheck:
    """Looks, as blocks pass, whether each quote opens or closes a value, or stands for one in a quoted value.

    Arrow reads on where this is not so, and would join rows at a quote that was left open.
    """

    def __init__(self, quote: str, delimiter: str) -> None:
        self._quote = ord(quote)
        self._ends = (ord(delimiter), *_LINE_ENDS, self._quote)
        self._before = _LINE_ENDS[0]
        self._inside = False
        self._closed_last = False
        self.is_clean = True

    def look(self, block: bytes) -> None:
        """Take notice of the next block."""
        import numpy as np

        if not block or not self.is_clean:
            return
        letters = np.frombuffer(block, np.uint8)
        if self._closed_last and letters[0] not in self._ends:
            self.is_clean = False
        places = np.flatnonzero(letters == self._quote)
        self._closed_last = False
        if places.size:
            opening, closing = places[int(self._inside) :: 2], places[int(not self._inside) :: 2]
            before = np.where(opening > 0, letters[opening - 1], self._before)
            inner = closing[closing + 1 < letters.size]
            if not (self._are_ends(before) and self._are_ends(letters[inner + 1])):
                self.is_clean = False
            self._inside ^= bool(places.size % 2)
            self._closed_last = not self._inside and int(places[-1]) == letters.size - 1
        self._before = int(letters[-1])

    def _are_ends(self, letters: np.ndarray[Any, Any]) -> bool:
        return all(any(letter == end for end in self._ends) for letter in set(letters.tolist()))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is open at the end."""
        return self.is_clean and not self._inside


def batches(source: CsvSource, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file as texts; with ``quoted_text``, missing values that are not in quotes are null.

    Raises
    ------
    FeatureError
        If the file cannot be read, or a row is not whole.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    options = source.options
    check = QuoteCheck(options.quote, layout.delimiter) if options.quote and not options.escape else None
    stream = TextStream(_looked_at(from_line(source.blocks(), layout.first_line), check))
    rows = 0
    try:
        with _buffered(stream) as buffered:
            if not buffered.peek(1):
                return
            with arrow_csv.open_csv(buffered, **_arrow_options(options, layout)) as reader:
                for batch in reader:
                    rows += batch.num_rows
                    yield batch
    except pa.ArrowInvalid as error:
        if stream.failure is not None:
            raise stream.failure from error
        # Arrow does not know lines
        _walk(source, layout)
        if "straddling" in str(error):
            raise FeatureError(
                f"{source.name} has a row of more than {BLOCK_BYTES // 2**20} MB: shorten it, or import it as Parquet"
            ) from error
        raise FeatureError(f"{source.name} cannot be read: {str(error)[: _SHOWN * 3]}") from error
    if (check is None and options.quote) or (check is not None and not check.is_whole):
        found = _walk(source, layout)
        if found != rows:
            raise FeatureError(
                f"{source.name} has {counted(found, 'row')} or {counted(rows, 'row')}, depending on what its quotes mean: "
                "write it anew with quotes around all texts"
            )


def _walk(source: CsvSource, layout: Layout) -> int:
    return sum(1 for _ in records(source, layout))


def _looked_at(blocks: Iterator[bytes], check: QuoteCheck | None) -> Iterator[bytes]:
    for block in blocks:
        if check is not None:
            check.look(block)
        yield block


@contextlib.contextmanager
def _buffered(stream: TextStream) -> Iterator[Any]:
    import io

    with stream, io.BufferedReader(stream, BLOCK_BYTES) as buffered:
        yield buffered


def _arrow_options(options: CsvOptions, layout: Layout) -> dict[str, Any]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # in the options, columns are told apart by names, which those of users need not be
    names = [f"c{at}" for at in range(len(layout.names))]
    return {
        "read_options": arrow_csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char=options.quote or False,
            escape_char=options.escape or False,
            newlines_in_values=True,
            ignore_empty_lines=len(names) > 1,
        ),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=list(options.null_markers),
            strings_can_be_null=options.quoted_text,
            quoted_strings_can_be_null=False,
        ),
    }
