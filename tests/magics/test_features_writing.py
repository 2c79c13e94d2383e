"""The commands of ``%features`` that write, in a real IPython shell, over a real store."""

import datetime

import numpy as np
import pandas as pd
import pytest
from feature_shell import run, shown

from hops_magic.errors import UsageError
from hops_magic.features.errors import (
    ConflictError,
    FeatureError,
    KeyViolationError,
    RejectedError,
    SchemaMismatchError,
    UnknownNameError,
)


def test_save_tells_what_it_did_and_adds_by_key(shell):
    assert shown(shell, "save teams -g teams --key team_id")[1] == "teams@1: 3 rows added; 3 rows in all, commit 0"
    shell.user_ns["later"] = pd.DataFrame({"team_id": [3, 4], "team_budget": [5.0, 6.0], "town": ["C", "D"]})
    assert shown(shell, "save later -g teams")[1] == "teams@1: 1 row added, 1 row changed; 4 rows in all, commit 1"
    run(shell, "save teams -g teams --mode version")
    assert len(run(shell, "get teams.town")) == 3
    assert len(run(shell, "get teams@1.town")) == 4


def test_save_widens_a_group_only_if_told(shell):
    run(shell, "save teams -g teams --key team_id")
    shell.user_ns["wider"] = pd.DataFrame({"team_id": [4], "team_budget": [6.0], "town": ["D"], "colour": ["red"]})
    with pytest.raises(SchemaMismatchError, match=r"colour \(string\): say --evolve"):
        run(shell, "save wider -g teams")
    run(shell, "save wider -g teams --evolve")
    assert run(shell, "get colour").df["colour"].notna().sum() == 1


BAD_TABLES = {
    "twice": (
        pd.DataFrame({"team_id": [1, 1], "team_budget": [1.0, 2.0], "town": ["a", "b"]}),
        KeyViolationError,
        "team_id=1",
    ),
    "nameless": (
        pd.DataFrame({"team_id": pd.array([1, None], dtype="Int64"), "team_budget": [1.0, 2.0], "town": ["a", "b"]}),
        KeyViolationError,
        "null in 1 row",
    ),
    "texts": (
        pd.DataFrame({"team_id": [4], "team_budget": ["much"], "town": ["a"]}),
        SchemaMismatchError,
        "team_budget is string in the data and double",
    ),
    "empty": (pd.DataFrame({"team_id": [], "team_budget": [], "town": []}), FeatureError, "no rows"),
    "number": (7, UsageError, "."),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_written(shell, name):
    data, kind, words = BAD_TABLES[name]
    run(shell, "save teams -g teams --key team_id")
    shell.user_ns[name] = data
    with pytest.raises(kind, match=words) as raised:
        run(shell, f"save {name} -g teams")
    assert "\n" not in str(raised.value)
    assert len(shown(shell, "history teams")[1].splitlines()) == 2


def test_events_that_are_still_to_come_are_refused_unless_told(shell):
    shell.user_ns["coming"] = pd.DataFrame(
        {"team_id": [1], "at": [pd.Timestamp.now("UTC") + datetime.timedelta(days=2)], "x": [1]}
    )
    with pytest.raises(FeatureError, match=r"still to come.*--allow-future"):
        run(shell, "save coming -g games --key team_id --event-time at")
    run(shell, "save coming -g games --key team_id --event-time at --allow-future")


BAD_SAVES = {
    "teams": (UsageError, "--group"),
    "nobody -g t --key team_id": (UsageError, "no such name"),
    "taems -g t --key team_id": (UsageError, "did you mean teams"),
    "teams -g t": (FeatureError, "--key COLUMN; the columns are team_id"),
    "teams -g t --key team": (UnknownNameError, "did you mean team_id"),
    "teams -g t --key team_budget": (FeatureError, "cannot be a key"),
    "teams -g t --key team_id --event-time town": (FeatureError, "timestamps"),
    "teams -g t --key team_id --mode replace": (UsageError, "choose from"),
    "teams -g t --key team_id --mode upsert": (FeatureError, "no group t"),
    "teams -g t@4 --key team_id": (FeatureError, "next version of t is 1"),
    "teams -g 'a b' --key team_id": (FeatureError, "a group is written"),
    'teams -g "x\'; DROP TABLE groups; --" --key team_id': (FeatureError, "a group is written"),
    "teams -g t --key team_id --foreign-key x": (FeatureError, "COLUMN=GROUP.KEY"),
    "teams -g t --key team_id --foreign-key nope=players.team_id": (UnknownNameError, "nope"),
    "teams -g t --key team_id --describe-column town": (UsageError, "COLUMN=TEXT"),
    "teams -g t --key team_id --partition-by nope": (UnknownNameError, "nope"),
    "teams -g t --key team_id --on-fail ignore": (UsageError, "choose from"),
}


@pytest.mark.parametrize("line", BAD_SAVES)
def test_a_save_that_cannot_be_makes_no_group(shell, line):
    kind, words = BAD_SAVES[line]
    with pytest.raises(kind, match=words) as raised:
        run(shell, f"save {line}")
    assert "\n" not in str(raised.value)
    assert "no feature groups yet" in shown(shell, "list")[1]


def test_rows_that_are_there_already_cannot_be_appended(shell):
    run(shell, "save teams -g teams --key team_id")
    with pytest.raises(KeyViolationError, match="--mode upsert"):
        run(shell, "save teams -g teams --mode append")
    with pytest.raises(ConflictError, match="teams@1 exists"):
        run(shell, "save teams -g teams --mode create")
    with pytest.raises(SchemaMismatchError, match="the key of teams@1 is team_id"):
        run(shell, "save teams -g teams --key town")


def test_rows_are_deleted_by_key_and_by_condition(shell):
    run(shell, "save teams -g teams --key team_id")
    assert "1 row removed; 2 rows in all" in shown(shell, 'delete-rows teams --where "team_budget > 15"')[1]
    assert "1 row removed; 1 row in all" in shown(shell, "delete-rows teams --keys team_id=1")[1]
    for line, words in {
        "teams": "say which rows",
        "teams --keys team_id=1": "no row",
        "teams --where 'team_budgt > 1'": "team_budget",
        "teams --where '1=1; DROP TABLE groups'": "cannot be asked",
        "teams --where 'team_id IN (SELECT 1)'": "other tables",
        "teams --keys town=B": "team_id",
        "nope --keys team_id=1": "no group",
    }.items():
        with pytest.raises(FeatureError, match=words):
            run(shell, f"delete-rows {line}")
    assert len(run(shell, "get town")) == 1


def test_edit_changes_what_is_said_of_a_group(shell):
    run(shell, "save teams -g teams --key team_id")
    run(shell, "save players -g players --key team_id")
    run(
        shell,
        'edit teams --describe "all teams" --tags a,b --describe-column "town=its town" '
        "--foreign-key team_id=players.team_id",
    )
    text = shown(shell, "describe teams --no-stats")[1]
    for words in ("all teams", "a, b", "its town", "key of players"):
        assert words in text
    run(shell, "edit teams --no-foreign-keys")
    assert "key of players" not in shown(shell, "describe teams --no-stats")[1]
    for line in (
        "nope --describe x",
        "teams --describe-column x=y",
        "teams --foreign-key no=players.team_id",
        "teams --on-fail x",
    ):
        with pytest.raises(UsageError):
            run(shell, f"edit {line}")


def test_rules_are_kept_as_they_are_written(shell):
    # a group whose name holds the word of an action, and a pattern with what IPython and shells would eat
    run(shell, "save codes -g address --key address")
    assert "has no rules" in shown(shell, "rule address")[1]
    run(shell, r"rule address add matches code ^[A-Z]{2}\w*$")
    run(shell, 'rule address add predicate "length(code) > 1"')
    text = shown(shell, "rule address list")[1]
    assert r"matches code ^[A-Z]{2}\w*$" in text
    assert "length(code) > 1" in text
    with pytest.raises(UsageError, match=r"no rule 'matches code'.*its rules are"):
        run(shell, "rule address remove matches code")
    run(shell, r"rule address remove matches code ^[A-Z]{2}\w*$")
    assert "matches" not in shown(shell, "rule address")[1]
    for line in ("add", "add frobnicate code", "add range cod 0 1", "add matches code [", "forget x"):
        with pytest.raises(UsageError):
            run(shell, f"rule address {line}")


def test_a_broken_rule_refuses_puts_aside_or_warns(shell):
    run(shell, "save teams -g teams --key team_id")
    run(shell, "rule teams add range team_budget 0 100")
    shell.user_ns["more"] = pd.DataFrame({"team_id": [4, 5], "team_budget": [-1.0, 6.0], "town": ["D", "E"]})
    with pytest.raises(RejectedError, match=r"range team_budget 0 100.*team_id=4"):
        run(shell, "save more -g teams")
    assert len(run(shell, "get town")) == 3
    with pytest.raises(FeatureError, match="put aside"):
        run(shell, "quarantined teams")
    said = shown(shell, "save more -g teams --on-fail quarantine")[1]
    assert "1 row added" in said
    assert "1 row put aside: %features quarantined teams" in said
    assert run(shell, "quarantined teams").df["team_id"].tolist() == [4]
    assert "range team_budget 0 100" in shown(shell, "save more -g teams --on-fail warn")[1]
    assert len(run(shell, "get town")) == 5


def test_drop_asks_first(shell):
    run(shell, "save teams -g teams --key team_id")
    run(shell, "save teams -g teams --mode version")
    assert "teams@2 (3 rows), teams@1 (3 rows) for good: say so with --yes" in shown(shell, "drop teams")[1]
    assert shown(shell, "drop teams@1 --yes")[1] == "deleted teams@1 (3 rows)"
    run(shell, "drop teams --yes")
    with pytest.raises(UnknownNameError):
        run(shell, "drop teams --yes")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_go_out_and_come_in(shell, tmp_path, ending):
    run(shell, "save teams -g teams --key team_id")
    file = tmp_path / f"it's teams.{ending}"
    assert "3 rows" in shown(shell, f'export team_budget town --to "{file}"')[1]
    run(shell, f'import "{file}" -g copied --key town')
    assert sorted(run(shell, "get copied.town").df["town"]) == ["<b>A</b>", "B", "C"]
    quoted = str(file).replace("'", "''")
    run(shell, f"import \"SELECT town FROM '{quoted}' WHERE town = 'B'\" -g queried --key town")
    assert len(run(shell, "get queried.town")) == 1


def test_features_go_out_as_they_would_be_got(shell, tmp_path):
    run(shell, "save games -g games --key team_id --event-time played_at")
    file = tmp_path / "joined.csv"
    asked = f'average_attendance --spine labels --event-time ts --limit 2 --to "{file}"'
    assert "2 rows of average_attendance" in shown(shell, f"export {asked}")[1]
    assert pd.read_csv(file)["average_attendance"].tolist() == [1000, 2000]
    assert list(pd.read_csv(file).columns) == ["team_id", "ts", "won", "average_attendance"]


def test_a_csv_file_is_read_as_the_line_says_and_as_the_group_is(shell, tmp_path):
    file = tmp_path / "towns.csv"
    file.write_text("town_id;zip;opened;sun\n1;00123;03/04/2024;1,5\n2;10115;31/12/2024;NA\n")
    said = shown(shell, f"import {file} -g places --key town_id --decimal , --date-format %d/%m/%Y --types zip=text")[1]
    assert said.splitlines() == ["places@1: 2 rows added; 2 rows in all, commit 0"]
    found = run(shell, "get places.*").df.set_index("town_id")
    assert found.loc[1].tolist() == ["00123", datetime.date(2024, 4, 3), 1.5]
    assert np.isnan(found.loc[2, "sun"])
    # without zeros before them, and without a fraction
    file.write_text("town_id,zip,opened,sun\n3,10117,2024-04-03,2\n")
    run(shell, f"import {file} -g places")
    assert run(shell, "get places.zip").df["zip"].tolist() == ["00123", "10115", "10117"]


def test_what_may_be_meant_otherwise_in_a_csv_file_is_told_with_flags(shell, tmp_path):
    file = tmp_path / "towns.csv"
    file.write_text("town_id,zip,opened\n1,00123,03/04/2024\n2,10115,31/12/2024\n")
    said = shown(shell, f"import {file} -g places --key town_id")[1].splitlines()
    assert said[0] == "places@1: 2 rows added; 2 rows in all, commit 0"
    assert "say --types zip=int if it is one, or --types zip=text if it is none" in said[1]
    assert "say --date-format %d/%m/%Y or --date-format %m/%d/%Y" in said[2]
    for options, words in {
        "--types opened=date": r"line 2, column opened: '03/04/2024' is no date as in 2024-03-04: how .* --date-format %d/",
        "--types zip=nope": r"^--types must be text, int",
        "--delimiter ;;": "^--delimiter must be one character",
        "--types zp=int": "--types names a column 'zp' that is not there: did you mean zip",
    }.items():
        with pytest.raises(UsageError, match=words):
            run(shell, f"import {file} -g more --key town_id {options}")


def test_a_value_that_the_group_s_column_does_not_take_is_named(shell, tmp_path):
    run(shell, "save games -g games --key team_id --event-time played_at")
    file = tmp_path / "games.csv"
    file.write_text("team_id,played_at,attendance\n9,03/04/2024,100\n")
    with pytest.raises(
        UsageError, match=r"games\.csv, line 2, column played_at: '03/04/2024' is no time.*say --date-format %d"
    ):
        run(shell, f"import {file} -g games")
    file.write_text("team_id,when\n9,03/04/2024\n")
    with (
        pytest.warns(UserWarning, match="'03/04/2024' is meant is not guessed"),
        pytest.raises(UsageError, match="timestamps"),
    ):
        run(shell, f"import {file} -g others --key team_id --event-time when")


def test_the_help_of_import_tells_how_dates_are_said(shell, capsys):
    run(shell, "import -h")
    assert "e.g. %d/%m/%Y" in " ".join(capsys.readouterr().out.split())


def test_a_query_sees_the_groups_of_the_store(shell):
    run(shell, "save teams -g teams --key team_id")
    run(shell, "save players -g players --key team_id")
    shell.user_ns["moved"] = pd.DataFrame({"team_id": [1], "team_budget": [1.0], "town": ["Z"]})
    run(shell, "save moved -g teams --mode version")
    query = (
        'SELECT n.team_id, n.town, o.town AS before, p.* EXCLUDE (team_id) FROM teams n JOIN ""teams@1"" o USING (team_id)'
    )
    query = query.replace('""', '\\"') + " JOIN players p USING (team_id)"
    run(shell, f'import "{query}" -g told --key team_id')
    found = run(shell, "get told.*").df
    assert found.to_dict("records") == [{"team_id": 1, "town": "Z", "before": "<b>A</b>", "average_player_age": 25.5}]


def test_files_that_cannot_be_are_refused(shell, tmp_path):
    run(shell, "save teams -g teams --key team_id")
    for line, words in {
        "export town --to x.xls": "ends with .csv or .parquet",
        "export town": "--to",
        f"export town --to {tmp_path}/nowhere/x.csv": "no folder",
        f"import {tmp_path}/none.csv -g t --key x": "no file",
        f"import {tmp_path}/none.xls -g t --key x": "no file that can be read",
        "import 'select nope' -g t --key x": "cannot be read",
        "import 'select * from team' -g t --key x": "cannot be read",
        "import x.csv": "--group",
    }.items():
        with pytest.raises(UsageError, match=words):
            run(shell, line)
