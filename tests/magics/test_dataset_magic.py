"""``%features dataset`` in a real IPython shell, over a real store."""

import pandas as pd
import polars as pl
import pytest
from feature_shell import run, shown

from hops_magic.errors import UsageError
from hops_magic.features.errors import FeatureError, UnknownNameError


@pytest.fixture
def shell_of_rows(shell):
    shell.user_ns["rows"] = pd.DataFrame(
        {
            "row_id": range(10),
            "seen_at": pd.date_range("2024-01-01", periods=10),
            "size": [float(n) for n in range(10)],
            "won": [0, 1] * 5,
        }
    )
    run(shell, "save rows -g rows --key row_id --event-time seen_at")
    return shell


def test_a_dataset_is_made_read_described_made_again_and_deleted(shell_of_rows):
    shell = shell_of_rows
    assert "no training datasets yet" in shown(shell, "dataset")[1]
    made = shown(shell, "dataset create wins size won --label won --split train=.8,test=.2 --seed 7 --describe 'who won'")[1]
    assert made == "wins@1: 8 rows train, 2 rows test; 2 columns"
    assert "wins@1" in shown(shell, "dataset list")[1]

    said = shown(shell, "dataset read wins --split train --as polars")[1]
    assert said == "train: 8 rows of 2 columns, polars DataFrame"
    assert isinstance(shell.user_ns["train"], pl.DataFrame)
    run(shell, "dataset read wins@1 --split test --out rest")
    assert sorted([*shell.user_ns["train"]["size"], *shell.user_ns["rest"]["size"]]) == [float(n) for n in range(10)]

    page, text = shown(shell, "dataset describe wins")
    for words in ("who won", "train=0.8", "rows@1", "seed"):
        assert words in text
    assert "<svg" in page
    moved = shown(shell, "dataset drift wins")[1]
    assert "stable" in moved
    assert moved.startswith("2 too few rows · 10 rows before, 10 after")
    assert "A verdict needs 200 rows before and after." in moved
    assert shown(shell, "dataset recreate wins")[1].startswith("wins@1 has its 2 files again")
    assert "--yes" in shown(shell, "dataset delete wins")[1]
    assert shown(shell, "dataset delete wins --yes")[1] == "deleted wins@1"


def test_a_dataset_is_split_by_time(shell_of_rows):
    made = shown(shell_of_rows, "dataset create later size seen_at --split-by-time train=2024-01-08,test=")[1]
    assert made == "later@1: 7 rows train, 3 rows test; 2 columns"


BAD_LINES = {
    "create": (UsageError, "NAME"),
    "create wins": (UsageError, "needs features"),
    "create wins sise": (UnknownNameError, "did you mean size"),
    "create 'a b' size": (FeatureError, "written NAME"),
    "create wins size --split train=.8,test=.1": (FeatureError, "must sum to 1, got 0.9"),
    "create wins size --split train": (UsageError, "train=.8,test=.2"),
    "create wins size --split-by-time train=soon": (UsageError, "a time is written"),
    "create wins size --split train=.5,test=.5 --split-by-time train=2024-01-02,test=": (FeatureError, "exclude each other"),
    "create wins size --time-column seen_at": (UsageError, "--time-column says by which times --split-by-time splits"),
    "create wins size --label colour": (UnknownNameError, "colour"),
    "create wins size --format xls": (UsageError, "choose from"),
    "read wins": (UnknownNameError, "wins"),
    "describe wins": (UnknownNameError, "wins"),
    "delete wins --yes": (UnknownNameError, "wins"),
    "recreate wins": (UnknownNameError, "wins"),
    "crate wins size": (UsageError, "did you mean create"),
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_dataset_that_cannot_be_is_one_sentence(shell_of_rows, line):
    kind, words = BAD_LINES[line]
    with pytest.raises(kind, match=words) as raised:
        run(shell_of_rows, f"dataset {line}")
    assert "\n" not in str(raised.value)
    assert "no training datasets yet" in shown(shell_of_rows, "dataset")[1]


def test_a_split_must_be_said_and_be_there(shell_of_rows):
    run(shell_of_rows, "dataset create wins size --split train=.5,test=.5")
    with pytest.raises(FeatureError, match="say which of train, test"):
        run(shell_of_rows, "dataset read wins --as df --out x")
    with pytest.raises(UnknownNameError, match="did you mean test"):
        run(shell_of_rows, "dataset read wins --split tset")
    for rest, words in {"--as excel": "df, polars", "--out 2x": "name of Python"}.items():
        with pytest.raises(UsageError, match=words):
            run(shell_of_rows, f"dataset read wins --split test {rest}")
