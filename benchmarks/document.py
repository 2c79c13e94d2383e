"""The document of all results: a head, and one section for each table, which can be measured anew alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a document by their title, in order; what stands before the first is left out."""
    begins = [*_SECTION.finditer(text)]
    ends = [*(each.start() for each in begins[1:]), len(text)][: len(begins)]
    return {begin[1]: text[begin.start() : end].strip() for begin, end in zip(begins, ends, strict=True)}


def with_sections(text: str, head: str, measured: Sequence[str]) -> str:
    """Return a document with another head, in which sections are replaced by what was measured anew; new ones come last."""
    known = sections_of(text)
    for section in measured:
        known |= sections_of(section)
    return "\n\n".join([head.strip(), *known.values()]) + "\n"
