from __future__ import annotations

import pytest

from hops_magic.widgets.plain import clean, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("1/3 [..]\r2/3 [=.]\r3/3", "3/3 [=.]"),
        ("a\r\nb", "a\nb"),
        ("12\x08\x08\x08ab", "ab"),
        ("\x00\x9b31m\u202eabc\u2066", "31mabc"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("unfinished \x1b[3", "unfinished [3"),
    ],
)
def test_text_reads_as_on_a_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_one_line_has_its_limit() -> None:
    assert one_line(" a\n b ") == "a b"
    assert len(one_line("x" * 10_000_000, 50)) == 50
