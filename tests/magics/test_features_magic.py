"""The commands of ``%features`` that read, in a real IPython shell, over a real store."""

import functools

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from feature_shell import run, shown, tables, with_magic

from hops_magic.errors import UsageError
from hops_magic.features.errors import (
    AmbiguousJoinError,
    AmbiguousNameError,
    FanoutError,
    FeatureError,
    NoJoinPathError,
    UnknownNameError,
)

# get


def test_get_puts_joined_features_into_a_variable_and_says_so(reading):
    _, text = shown(reading, "get average_player_age team_budget --as df")
    assert text == "df: 3 rows of 2 columns, pandas DataFrame"
    frame = reading.user_ns["df"]
    assert list(frame.columns) == ["average_player_age", "team_budget"]
    assert frame.sort_values("average_player_age")["average_player_age"].tolist() == [25.5, 26.0, 27.0]


@pytest.mark.parametrize(
    ("form", "name", "kind"), [("df", "df", pd.DataFrame), ("polars", "df", pl.DataFrame), ("arrow", "table", pa.Table)]
)
def test_get_names_the_variable_after_the_form_unless_told(reading, form, name, kind):
    run(reading, f"get town --as {form}")
    assert isinstance(reading.user_ns[name], kind)
    run(reading, f"get town --as {form} --out mine")
    assert isinstance(reading.user_ns["mine"], kind)
    assert len(reading.user_ns["mine"]) == 3


def test_get_streams_into_dask(reading):
    _, text = shown(reading, "get team_budget town --as dask --out streamed")
    assert text.startswith("streamed: 2 columns in 1 partition")
    assert sorted(reading.user_ns["streamed"].compute()["town"]) == ["<b>A</b>", "B", "C"]


def test_get_without_a_form_is_a_table_that_also_has_the_data(reading):
    answer = run(reading, "get team_budget town")
    assert isinstance(answer.df, pd.DataFrame)
    assert isinstance(answer.polars, pl.DataFrame)
    assert isinstance(answer.arrow, pa.Table)
    assert len(answer) == 3
    page, text = shown(reading, "get team_budget town")
    assert "&lt;b&gt;A&lt;/b&gt;" in page
    assert "<b>A</b>" not in page
    assert "double" in page
    assert "Distributions" in page
    assert text.split().count("null") == 1


def test_a_group_in_two_roles_is_asked_for_by_them(reading):
    reading.user_ns["matches"] = pd.DataFrame({"game": [1, 2], "home": [2, 3], "away": [1, 2]})
    keys = "--foreign-key home=teams.team_id --foreign-key away=teams.team_id"
    run(reading, f"save matches --group matches --key game {keys} --no-stats")
    for line in ("get game town", "explain game town", "dataset create wins game town", "export game town --to x.csv"):
        with pytest.raises(
            AmbiguousJoinError,
            match=r"^--on must name the foreign keys by which matches@1 joins teams@1, .* say home or away",
        ):
            run(reading, line)
    assert run(reading, "get game town --on home").df.set_index("game")["town"].to_dict() == {1: "B", 2: "C"}
    answer = run(reading, "get game town --on away,home").df.set_index("game")
    assert answer.to_dict("index") == {
        1: {"away_town": "<b>A</b>", "home_town": "B"},
        2: {"away_town": "B", "home_town": "C"},
    }
    with pytest.raises(UsageError, match=r"--on must name foreign keys .* got abroad: home or away"):
        run(reading, "get game town --on abroad")
    _, text = shown(reading, "explain game town --on home,away")
    assert "team_id = home" in text
    assert "team_id = away" in text
    _, text = shown(reading, "dataset create wins game town --on home,away")
    assert text == "wins@1: 2 rows all; 3 columns"
    assert "home, away" in shown(reading, "dataset describe wins")[1]


def test_get_finds_what_was_known_at_the_time_of_each_label(reading):
    run(reading, "get average_attendance --spine labels --event-time ts --out joined")
    assert reading.user_ns["joined"]["average_attendance"].tolist()[:2] == [1000, 2000]
    assert pd.isna(reading.user_ns["joined"]["average_attendance"][2])
    run(reading, "get average_attendance --spine labels --event-time ts --max-age games=20d --out joined")
    assert reading.user_ns["joined"]["average_attendance"].isna().tolist() == [False, True, True]
    # these rows were written today, long after the labels
    run(reading, "get average_attendance --spine labels --event-time ts --exclude-late --out joined")
    assert reading.user_ns["joined"]["average_attendance"].isna().all()


def test_get_looks_keys_up(reading):
    found = run(reading, "get town --keys team_id=3,1").df
    assert found["town"].tolist() == ["C", "<b>A</b>"]
    reading.user_ns["wanted"] = {"team_id": [2]}
    assert run(reading, "get town --keys wanted").df["town"].tolist() == ["B"]


def test_a_key_on_the_line_is_of_the_type_of_the_group(shell):
    shell.user_ns["agents"] = {"code": ["007", "7"], "agent": ["Bond", "Smith"]}
    run(shell, "save agents -g agents --key code")
    assert run(shell, "get agent --keys code=007").df["agent"].tolist() == ["Bond"]
    run(shell, "delete-rows agents --keys code=007")
    assert run(shell, "get agent").df["agent"].tolist() == ["Smith"]


def test_get_limits_rows_and_adds_keys(reading):
    found = run(reading, "get town --with-keys --limit 2").df
    assert list(found.columns) == ["team_id", "town"]
    assert len(found) == 2


def test_get_multiplies_rows_only_if_told(reading):
    with pytest.raises(FanoutError, match="--allow-fanout"):
        run(reading, "get teams.team_budget seats.price --spine labels")
    assert len(run(reading, "get teams.team_budget seats.price --spine labels --allow-fanout")) == 5


def test_values_on_the_line_are_never_evaluated(reading):
    reading.user_ns["name"] = "town"
    with pytest.raises(FeatureError):
        run(reading, "get {name}")
    with pytest.raises(FeatureError):
        run(reading, "get $name")
    with pytest.raises(UsageError, match="no such name"):
        run(reading, "get town --spine labels.head(1)")


BAD_GETS = {
    "": (UsageError, "NAME"),
    "team_budgt": (UnknownNameError, "did you mean team_budget"),
    "team_id": (AmbiguousNameError, "games.team_id, players.team_id"),
    "nothing.x": (UnknownNameError, "no group 'nothing'"),
    "teams.tovn": (UnknownNameError, "did you mean town"),
    "teams@7.town": (UnknownNameError, "teams@1"),
    "*": (FeatureError, "GROUP.*"),
    "town rain": (NoJoinPathError, r"key team_id.*key station"),
    '"town\'; DROP TABLE groups; --"': (UnknownNameError, "DROP TABLE"),
    "town --as excel": (UsageError, "df, polars, arrow, dask, tf"),
    "town --as": (UsageError, "expected one argument"),
    "town --out 2x": (UsageError, "name of Python"),
    "town --bogus": (UsageError, "--bogus"),
    "town --limit x": (UsageError, "invalid int"),
    "town --limit -5": (FeatureError, "--limit must be at least 1, got -5"),
    "town --keys team_id=x": (FeatureError, r"row 0 \(x\) does not fit into int64"),
    "town --keys team_id=1 --event-time ts": (FeatureError, "give the rows as --spine"),
    "town --spine labels --with-keys": (FeatureError, "--with-keys .* leave it out"),
    "town --spine lables": (UsageError, "did you mean labels"),
    "town --event-time ts": (FeatureError, "--spine"),
    "town --spine labels --event-time tss": (UnknownNameError, "did you mean ts"),
    "town --spine labels --event-time won": (FeatureError, "timestamps"),
    "town --spine weather": (NoJoinPathError, "no team_id"),
    "town --keys team_id=1,2 row=1": (UsageError, "as many values"),
    "town --keys": (UsageError, "expected at least one argument"),
    "town --keys nokey": (UsageError, "no such name"),
    "town --keys team_id=": (UsageError, "KEY=VALUE"),
    "town --keys team_id=1 --spine labels": (FeatureError, "exclude each other"),
    "town --as-of yesterday": (UsageError, "2024-05-01"),
    "town --as-of 99": (FeatureError, "no commit 99"),
    "town --as-of 2001-01-01": (FeatureError, "did not exist"),
    "town --max-age 7days": (UsageError, "an age is written"),
    "town --max-age 7d": (FeatureError, "event time"),
    "average_attendance --spine labels --event-time ts --max-age teams=7d": (FeatureError, "teams"),
    "'town": (UsageError, "No closing quotation"),
}


@pytest.mark.parametrize("line", BAD_GETS)
def test_a_get_that_cannot_be_is_one_sentence(reading, line):
    kind, words = BAD_GETS[line]
    with pytest.raises(kind, match=words) as raised:
        run(reading, f"get {line}")
    assert isinstance(raised.value, UsageError)
    assert "\n" not in str(raised.value)


# looking around


def test_list_shows_groups_page_by_page(reading):
    page, text = shown(reading, "")
    assert "teams@1" in text
    assert "budget of teams" in page
    assert shown(reading, "list")[1] == text
    first = shown(reading, "list -n 2")[1]
    assert "games@1" in first
    assert "more with --offset 2" in first
    assert "seats@1" in shown(reading, "list -n 2 --offset 2")[1]
    with pytest.raises(UsageError, match="at least 1"):
        run(reading, "list -n 0")


def test_list_of_an_empty_store_says_how_to_begin(shell):
    assert "%features save" in shown(shell, "list")[1]


def test_search_marks_what_matched(reading):
    page, text = shown(reading, "search attendance")
    assert "games.average_attendance" in text
    assert "average_<mark" in page
    assert "nothing matches" in shown(reading, 'search "<script>"')[1]
    with pytest.raises(UsageError):
        run(reading, "search")


def test_describe_tells_columns_keys_and_draws_statistics(reading):
    page, text = shown(reading, "describe teams")
    assert "where it plays" in text
    assert "33 %" in text  # one budget of three is null
    assert "<svg" in page
    assert "<svg" not in shown(reading, "describe teams --no-stats")[0]
    assert "played_at" in shown(reading, "describe games@1 --commit 0")[1]
    with pytest.raises(UnknownNameError, match="did you mean teams"):
        run(reading, "describe team")
    with pytest.raises(FeatureError, match="no commit 99"):
        run(reading, "describe teams --commit 99")
    with pytest.raises(FeatureError, match="a group is written"):
        run(reading, "describe '<img src=x>'")


def test_explain_tells_groups_commits_rows_and_sql(reading):
    page, text = shown(reading, "explain average_attendance team_budget")
    assert "games@1" in text
    assert "base" in text
    assert "left, on team_id" in text
    assert "team_id (shared name)" in text  # no foreign key says so
    assert "4 rows before the joins, 4 rows after" in text
    assert "LEFT JOIN" in text
    assert "<details" in page
    asked = shown(reading, "explain average_attendance --spine labels --event-time ts")[1]
    assert "ASOF LEFT JOIN" in asked
    assert "the last one known" in asked


def test_history_diff_and_drift_tell_what_a_write_changed(shell):
    run(shell, "save teams -g teams --key team_id")
    shell.user_ns["later"] = pd.DataFrame({"team_id": [3, 4], "team_budget": [5.0, 6.0], "town": ["C", "D"]})
    run(shell, "save later -g teams")
    run(shell, "delete-rows teams --keys team_id=1")
    lines = shown(shell, "history teams")[1].splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["delete", "upsert", "create"]
    assert "teams.ipynb" in lines[1]
    told = shown(shell, "diff teams 0")[1]
    assert "1 added, 1 changed, 1 removed" in told
    assert "0 added, 0 changed, 1 removed" in shown(shell, "diff teams 1 2")[1]
    assert "team_budget" in shown(shell, "drift teams 0 1")[1]
    assert len(run(shell, "get town --as-of 0").df) == 3
    for line in ("diff teams", "diff teams 0 50", "diff teams 0 -n -1", "drift teams x", "history nope"):
        with pytest.raises(UsageError):
            run(shell, line)


def test_used_by_of_a_group_that_nobody_used(reading):
    assert "nothing was made from it" in shown(reading, "used-by teams")[1]


# the magic itself


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gte x", "did you mean get"),
        ("frob", "there are list, get"),
        ("--bogus", "--bogus"),
        ("list --limt 3", "did you mean --limit"),
    ],
)
def test_unknown_commands_and_options_are_one_sentence(reading, line, words):
    with pytest.raises(UsageError, match=words):
        run(reading, line)


@pytest.mark.parametrize("line", ["-h", "get -h", "save -h", "rule -h", "drop -h"])
def test_help_is_printed(reading, capsys, line):
    assert run(reading, line) is None
    assert "usage: %features" in capsys.readouterr().out


def test_reads_are_known_by_the_name_they_are_put_into(ipython, tmp_path):
    shell = with_magic(ipython, tmp_path)
    run(shell, "save teams -g teams --key team_id")
    run(shell, "get town --out mine")
    (read,) = shell.user_ns["provenance"].by_name["mine"]
    assert (read.name, read.version, read.commit, tuple(read.features)) == ("teams", 1, 0, ("town",))


def test_the_same_verbs_serve_scripts(tmp_path, monkeypatch):
    from hops_magic import features

    monkeypatch.setenv("HOPS_HOME", str(tmp_path))
    monkeypatch.setattr(features, "default_store", functools.cache(features.default_store.__wrapped__))
    features.save(tables()["teams"], "teams", key="team_id")
    assert features.get("town", "team_budget").shape == (3, 2)
    assert features.search("town")[0].full_name == "teams.town"
    assert isinstance(features.default_store(), features.FeatureStore)
