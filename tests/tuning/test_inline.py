"""Spaces on a magic's line: read as literals, typos answered with the nearest name."""

import pytest

from hops_magic.errors import UsageError
from hops_magic.tuning.inline import parse_assignment, split_line
from hops_magic.tuning.space import Choice, loguniform, uniform


def test_words_end_at_blanks_outside_of_brackets_and_quotes():
    line = """--trials 50 --name "my study" lr=loguniform(1e-5, 1e-1) act=choice(["re lu", 'tanh']) """
    line += """--start-with {"lr": 0.1, "act": "tanh"}"""
    assert split_line(line) == [
        "--trials",
        "50",
        "--name",
        "my study",
        "lr=loguniform(1e-5, 1e-1)",
        "act=choice([\"re lu\", 'tanh'])",
        "--start-with",
        '{"lr": 0.1, "act": "tanh"}',
    ]
    assert split_line("""--start-with '{"lr": 0.1}' --budget "30 m" x=choice(["a b"])""") == [
        "--start-with",
        '{"lr": 0.1}',
        "--budget",
        "30 m",
        'x=choice(["a b"])',
    ]
    with pytest.raises(UsageError, match=r"\) is missing"):
        split_line("lr=uniform(0, 1")


def test_distributions_and_constants_are_read():
    assert parse_assignment("lr=loguniform(1e-5, 1e-1)") == ("lr", loguniform(1e-5, 1e-1))
    assert parse_assignment("lr=hops.loguniform(low=1e-5, high=1e-1)") == ("lr", loguniform(1e-5, 1e-1))
    assert parse_assignment("epochs=5") == ("epochs", 5)
    assert parse_assignment("x=-1.5") == ("x", -1.5)
    assert parse_assignment('act="relu"') == ("act", "relu")
    name, nested = parse_assignment('o=choice([{"m": uniform(0, 1)}, None])')
    assert (name, nested) == ("o", Choice(({"m": uniform(0, 1)}, None)))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lr=loguniforn(1, 2)", "did you mean loguniform?"),
        ("lr=__import__('os').system('x')", "no distribution"),
        ("lr=uniform(0)", r"missing a required argument: 'high'; write uniform\(low, high\)"),
        ("lr=uniform(low, 1)", "is no literal"),
        ("lr=1+", "cannot be read"),
        ("lr=uniform(1, 0)", "lower bound below"),
    ],
)
def test_mistakes_get_one_sentence(word, message):
    with pytest.raises(UsageError, match=message):
        parse_assignment(word)
