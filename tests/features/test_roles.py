"""A group that another refers to twice, a team at home and away, joined in either role or in both: values against pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hops_magic.features.errors import AmbiguousJoinError, FeatureError, RoleError
from hops_magic.features.store import request_of

START = pd.Timestamp("2024-01-01", tz="UTC")
TEAMS = pd.DataFrame({"team": range(6), "town": list("abcdef"), "league": [1, 1, 1, 2, 2, 2]})
LEAGUES = pd.DataFrame({"league": [1, 2], "country": ["x", "y"]})


@pytest.fixture
def games():
    rng = np.random.default_rng(0)
    home = rng.integers(0, 6, 40)
    played = START + pd.to_timedelta(rng.permutation(40) * 6 + 24, unit="h")
    # some teams are not known
    return pd.DataFrame({"game": range(40), "played": played, "home": home, "away": (home + rng.integers(1, 3, 40)) % 8})


@pytest.fixture
def ranks():
    rng = np.random.default_rng(1)
    at = [START + pd.Timedelta(days=int(day)) for day in np.tile(range(0, 12, 2), 6)]
    return pd.DataFrame({"team": np.repeat(range(6), 6), "at": at, "rank": rng.integers(1, 99, 36)})


@pytest.fixture
def matches(store, games, ranks):
    store.save(TEAMS, "teams", key="team", statistics=False)
    store.save(LEAGUES, "leagues", key="league", statistics=False)
    store.edit("teams", foreign_keys=["league=leagues.league"])
    store.save(ranks, "ranks", key="team", event_time="at", statistics=False)
    sides = [f"{side}={group}.team" for group in ("teams", "ranks") for side in ("home", "away")]
    store.save(games, "games", key="game", event_time="played", foreign_keys=sides, statistics=False)
    return store


def sorted_by_game(frame):
    return frame.sort_values("game", ignore_index=True)


def with_teams(games, side):
    teams = TEAMS.merge(LEAGUES, on="league")[["team", "town", "country"]].add_prefix(f"{side}_")
    return games.merge(teams, left_on=side, right_on=f"{side}_team", how="left")


def with_ranks(games, ranks, side):
    right = ranks.rename(columns={"team": side, "rank": f"{side}_rank"}).sort_values("at").astype({side: "int64"})
    found = pd.merge_asof(games.sort_values("played"), right, left_on="played", right_on="at", by=side)
    return found.drop(columns="at")


def same(found, expected):
    pd.testing.assert_frame_equal(found[list(expected.columns)], expected, check_dtype=False)


def test_both_roles_and_what_they_lead_to_have_the_values_of_two_joins(matches, games):
    found = matches.get("game", "games.home", "games.away", "town", "country", on=("home", "away"))
    assert list(found.columns) == ["game", "home", "away", "home_town", "away_town", "home_country", "away_country"]
    expected = with_teams(with_teams(games, "home"), "away")[list(found.columns)]
    same(sorted_by_game(found), expected)
    assert found["away_town"].isna().any()


def test_one_role_is_asked_for_without_a_prefix(matches, games):
    found = matches.get("game", "town", on="away")
    assert list(found.columns) == ["game", "town"]
    same(sorted_by_game(found), with_teams(games, "away").rename(columns={"away_town": "town"})[["game", "town"]])
    with pytest.raises(
        AmbiguousJoinError, match=r"on must name .* games@1 joins teams@1, got none of them: say home or away"
    ):
        matches.get("game", "town")


@pytest.mark.parametrize("form", ["polars", "arrow", "dask"])
def test_every_form_has_both_roles(matches, games, form):
    found = matches.get("game", "town", on="home,away", form=form)
    frame = found.compute() if form == "dask" else found.to_pandas()
    same(sorted_by_game(frame), with_teams(with_teams(games, "home"), "away")[["game", "home_town", "away_town"]])


def test_each_role_has_what_was_known_of_its_team_at_the_time_of_the_game(matches, games, ranks):
    expected = sorted_by_game(with_ranks(with_ranks(games, ranks, "home"), ranks, "away"))
    found = matches.get("game", "rank", on=["home", "away"])
    same(sorted_by_game(found), expected[["game", "home_rank", "away_rank"]])
    # the rows of a spine, by its own moments, each with its own age
    spine = games[["game"]].assign(asked=games["played"] + pd.Timedelta(days=1)).sample(frac=1, random_state=0)
    later = games.assign(played=games["played"] + pd.Timedelta(days=1))
    asked = with_ranks(with_ranks(later, ranks, "home"), ranks, "away").set_index("game").loc[spine["game"]]
    answer = matches.get("games.home", "rank", "town", spine=spine, event_time="asked", on=("home", "away"))
    assert answer.index.equals(spine.index)
    assert answer["game"].tolist() == spine["game"].tolist()
    same(answer[["home_rank", "away_rank"]].reset_index(drop=True), asked[["home_rank", "away_rank"]].reset_index(drop=True))
    stale = matches.get("rank", "game", spine=spine, event_time="asked", on=("home", "away"), max_age=pd.Timedelta("1s"))
    assert stale["home_rank"].notna().sum() < answer["home_rank"].notna().sum()


def test_look_ups_in_one_role_are_not_answered_by_another(matches, games):
    first = games[games["away"] < 6].iloc[0]
    keys = {"game": [int(first["game"])]}
    expected = {side: TEAMS["town"][int(first[side])] for side in ("home", "away")}
    for _ in range(2):
        for side in ("home", "away"):
            assert matches.get("town", "games.played", keys=keys, on=side)["town"].tolist() == [expected[side]]
    both = matches.get("town", "games.played", keys=keys, on=("home", "away"))
    assert both[["home_town", "away_town"]].iloc[0].tolist() == list(expected.values())


def test_what_was_read_names_a_group_in_several_roles_once(matches):
    matches.take_reads()
    request = request_of("game", "town", on="home,away")
    matches.answer(request)
    assert [(read.name, read.features) for read in matches.take_reads()] == [("games", ("game",)), ("teams", ("town",))]
    told = matches.explain(request)
    assert [(join.role, join.on[0].left) for join in told.plan.joins] == [("home", "home"), ("away", "away")]
    assert told.rows_before == told.rows_after == 40


def test_a_dataset_keeps_its_roles(matches, games, ranks):
    spine = games[["game"]].assign(asked=games["played"])
    request = request_of("game", "rank", "town", spine=spine, event_time="asked", on=("home", "away"))
    made = matches.create_dataset("wins", request, statistics=False)
    frame = matches.read_dataset("wins")
    expected = with_teams(with_teams(with_ranks(with_ranks(games, ranks, "home"), ranks, "away"), "home"), "away")
    columns = ["game", "home_rank", "away_rank", "home_town", "away_town"]
    same(sorted_by_game(frame), sorted_by_game(expected)[columns])
    before = {file: (Path(made.location) / file).read_bytes() for file in made.checksums}
    for file in made.checksums:
        (Path(made.location) / file).unlink()
    # what is written later does not reach it, and the group that only leads to others is asked for again
    matches.save({"team": [0], "town": ["new"], "league": [1]}, "teams", statistics=False)
    assert matches.recreate_dataset("wins").recipe.on == ("home", "away")
    assert {file: (Path(made.location) / file).read_bytes() for file in made.checksums} == before
    drift = matches.dataset_drift("wins")
    assert {column.name for column in drift.columns} >= {"home_rank", "away_rank", "home_town", "away_town"}


def test_what_would_be_mistaken_is_refused(matches):
    with pytest.raises(RoleError, match="got hme: home or away"):
        matches.get("game", "town", on="hme")
    matches.save({"team": [1], "game": [5]}, "last", key="team", statistics=False)
    matches.edit("games", foreign_keys=["home=last.team"])
    with pytest.raises(FeatureError, match="--with-keys adds game of games@1, and the answer has another column"):
        matches.get("games.away", "last.game", on="home", with_keys=True)
