"""A group that can be joined in several ways: which one is taken, and when a request must say it."""

import itertools

import pytest
from test_planner import TEAMS, Known, group, joined, to

from hops_magic.features.errors import AmbiguousJoinError, RoleError
from hops_magic.features.planner import Spine, plan

STADIUMS = group("stadiums", ["stadium"], ["owner", "seats"], foreign_keys=[to("teams", "owner")])
MATCHES = group(
    "matches",
    ["game_id"],
    ["home", "stadium", "score"],
    foreign_keys=[to("teams", "home"), to("stadiums", "stadium", references=("stadium",))],
)


@pytest.mark.parametrize("names", itertools.permutations(["score", "seats", "budget"]))
def test_a_group_to_which_two_others_refer_is_not_joined_by_the_nearest_without_a_word(names):
    known = Known(MATCHES, STADIUMS, TEAMS)
    with pytest.raises(
        AmbiguousJoinError,
        match=r"on must name the way by which teams@1 is joined, got none of them: say matches.home or stadiums.owner, or",
    ):
        plan(names, known)
    for on, expected in (
        (["home"], [("g0", "home")]),
        (["stadiums.owner"], [("g1", "owner")]),
        (["owner", "matches.home"], [("g1", "owner"), ("g0", "home")]),
    ):
        found = plan(names, known, on=on)
        assert [(pair.source, pair.left) for join in found.joins if join.group is TEAMS for pair in join.on] == expected
    assert [output.name for output in found.outputs if output.group is TEAMS] == ["owner_budget", "home_budget"]
    # a group that is not asked for is no way
    assert [join.group for join in plan(["score", "budget"], known).joins] == [TEAMS]


def test_roles_of_one_name_are_told_apart_by_their_groups():
    stadiums = group("stadiums", ["stadium"], ["home", "seats"], foreign_keys=[to("teams", "home")])
    known = Known(MATCHES, stadiums, TEAMS)
    for on in ([], ["home"]):
        with pytest.raises(AmbiguousJoinError, match=r"say matches\.home or stadiums\.home, or several as"):
            plan(["score", "seats", "budget"], known, on=on)
    found = plan(["score", "seats", "budget"], known, on=["matches.home", "stadiums.home"])
    assert [output.name for output in found.outputs] == ["score", "seats", "matches_home_budget", "stadiums_home_budget"]
    assert [join.on[0].source for join in found.joins if join.group is TEAMS] == ["g0", "g1"]
    with pytest.raises(RoleError, match=r"got seats\.home"):
        plan(["score", "budget"], known, on=["seats.home"])


def test_ways_that_lead_to_the_same_rows_are_one():
    to_season = to("seasons", "season", references=("season",))
    seasons = group("seasons", ["season"], ["rules"])
    squads = group("squads", ["team", "season"], ["size"], foreign_keys=[to_season])
    keys = [to("squads", "home", "season", references=("team", "season")), to_season]
    for foreign_keys in (keys, keys[:1]):
        rounds = group("rounds", ["season", "round"], ["home", "score"], foreign_keys=foreign_keys)
        for names in itertools.permutations(["score", "rules", "size"]):
            joins = {join.group.name: join.on for join in plan(names, Known(rounds, squads, seasons)).joins}
            assert [pair.left for pair in joins["squads"]] == ["home", "season"]
            assert [pair.left for pair in joins["seasons"]] == ["season"]


def test_what_a_group_leads_to_is_no_other_way_to_it():
    teams = group(
        "teams", ["team_id"], ["captain", "budget"], foreign_keys=[to("people", "captain", references=("person",))]
    )
    people = group("people", ["person"], ["club", "wealth"], foreign_keys=[to("teams", "club")])
    games = group("games", ["game_id"], ["home", "score"], foreign_keys=[to("teams", "home")])
    for names in itertools.permutations(["score", "budget", "wealth"]):
        assert joined(plan(names, Known(teams, people, games))) == [
            ("teams", [("g0", "home", "team_id")]),
            ("people", [("g1", "captain", "person")]),
        ]


def test_a_declared_key_goes_before_a_name_whatever_the_order_of_names():
    cities = group("cities", ["id"], ["people"])
    clients = group("clients", ["id"], ["city", "age"], foreign_keys=[to("cities", "city", references=("id",))])
    orders = group("orders", ["id"], ["client", "price"], foreign_keys=[to("clients", "client", references=("id",))])
    for names in (["price", "age", "people"], ["price", "people", "age"]):
        assert joined(plan(names, Known(cities, clients, orders))) == [
            ("clients", [("g0", "client", "id")]),
            ("cities", [("g1", "city", "id")]),
        ]
    # clients are not joined to their orders by numbers that happen to have one name
    assert plan(["age", "price"], Known(clients, orders)).base is orders


@pytest.mark.parametrize("names", [["goals", "budget"], ["budget", "goals"]])
def test_a_spine_that_has_the_key_of_a_group_to_which_another_leads_is_asked_which_is_meant(names):
    players = group("players", ["player"], ["club", "goals"], foreign_keys=[to("teams", "club")])
    spine = Spine(columns=("player", "team_id"))
    with pytest.raises(
        AmbiguousJoinError, match=r"teams@1 is joined, .* say (spine.team_id or players.club|players.club or)"
    ):
        plan(names, Known(players, TEAMS), spine=spine)
    for on, expected in (("club", ("g0", "club")), ("spine.team_id", ("spine", "team_id"))):
        found = plan(names, Known(players, TEAMS), spine=spine, on=[on])
        assert [(pair.source, pair.left) for join in found.joins if join.group is TEAMS for pair in join.on] == [expected]
    assert len(plan(["budget"], Known(players, TEAMS), spine=spine).joins) == 1
