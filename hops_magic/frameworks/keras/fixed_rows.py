"""Code in a step that counts on the rows of the whole batch: TensorFlow's errors about shapes say it of a rank's part."""

from __future__ import annotations

import re
import traceback

from hops_magic.errors import UnsupportedError

_SHAPE = re.compile(r"\[(\d+)[,\]]")
_ELEMENTS = re.compile(r"(\d+) (?:elements|values)|requested shape has (\d+)")
_DIMENSIONS = re.compile(r"(?:Dimensions must be equal, but are|dimensions?) (\d+) and (\d+)")
_MATRIX = re.compile(r"In\[\d\]: \[(\d+),(\d+)\]")
_ABOUT_SHAPES = re.compile(
    r"must be equal|Incompatible shapes|size-incompatible|[Cc]annot reshape|Input to reshape|broadcast|must have the same"
    r"|with wrong shape|must match"
)
# of a variable and its new value, by TensorFlow and by Keras
_ASSIGNED = (
    re.compile(r"Expected \[(\d+)([^]]*)\] got \[(\d+)([^]]*)\]"),
    re.compile(r"variable\.shape=\((\d+)([^)]*)\), Received: value\.shape=\((\d+)([^)]*)\)"),
)
_COLOURS = re.compile(r"\x1b\[\d*m")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ')
_LIBRARIES = ("site-packages", "dist-packages", "hops_magic/frameworks", "__autograph_generated_file")


def refuse_fixed_rows(error: Exception, world_size: int) -> None:
    """Raise a sentence for an error about shapes of which one is about as many times as long as there are ranks.

    So for a variable that gets fewer rows than it has: a queue from which as many are taken as a whole batch brings.

    Raises
    ------
    UnsupportedError
        If the error's first axes, or numbers of elements, are so; other errors are left as they are.
    """
    text = _COLOURS.sub("", str(error))
    if not _ABOUT_SHAPES.search(text):
        return
    found = [*_SHAPE.findall(text), *(number for pair in _ELEMENTS.findall(text) for number in pair if number)]
    found += [number for pattern in (_DIMENSIONS, _MATRIX) for pair in pattern.findall(text) for number in pair]
    sizes = {int(number) for number in found} - {0}
    in_parts = any(
        part < whole and part in (whole // world_size, -(-whole // world_size)) for part in sizes for whole in sizes
    )
    if not (in_parts or _is_short_of_rows(text)):
        return
    place = _line_of(error) or "something in it"
    said = next(each.strip() for each in text.splitlines()[::-1] if _ABOUT_SHAPES.search(each))
    raise UnsupportedError(
        f"a step has each batch in {world_size} parts, one on each rank, but {place} seems to count on all rows: "
        f"take their number from tf.shape(x)[0] instead of a constant, or train with -n 1 ({said[:160]})"
    ) from error


def _is_short_of_rows(text: str) -> bool:
    """Whether a variable was to get fewer rows than it has, and else the same shape."""
    found = [match.groups() for pattern in _ASSIGNED for match in pattern.finditer(text)]
    return any(int(rows) < int(kept) and rest == other for kept, rest, rows, other in found)


def _line_of(error: Exception) -> str:
    """Name the last line that is no library's, of the traceback or of what TensorFlow says about the op."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(name, int(number)) for name, number in _FRAME.findall(str(error))]
    own = [frame for frame in frames if not any(library in frame[0] for library in _LIBRARIES)]
    return f"line {own[-1][1]} of {own[-1][0]}" if own else ""
