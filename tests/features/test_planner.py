"""Which group answers a name, which is the base, and how the others are joined to it."""

from dataclasses import replace

import pytest

from hops_magic.features.errors import (
    AmbiguousJoinError,
    AmbiguousNameError,
    FanoutError,
    FeatureError,
    NoJoinPathError,
    RoleError,
    UnknownNameError,
)
from hops_magic.features.model import Column, ForeignKey, Group
from hops_magic.features.planner import Moment, Spine, plan


def group(name, key, features, *, version=1, event_time=None, foreign_keys=()):
    names = [*key, *([event_time] if event_time else []), *features]
    columns = tuple(Column(name=each, type="int64") for each in names)
    return Group(
        name=name,
        version=version,
        columns=columns,
        primary_key=tuple(key),
        location=f"{name}-{version}",
        event_time=event_time,
        foreign_keys=tuple(foreign_keys),
    )


class Known:
    def __init__(self, *groups):
        self.all = groups

    def group(self, name, version=None):
        found = [each for each in self.all if each.name == name and version in (None, each.version)]
        return max(found, key=lambda each: each.version, default=None)

    def groups_with(self, feature):
        latest = [self.group(name) for name in sorted({each.name for each in self.all})]
        return [each for each in latest if each.column(feature)]

    def names(self):
        return [each.name for each in self.all], [column.name for each in self.all for column in each.columns]


TEAMS = group("teams", ["team_id"], ["average_attendance", "budget"])
PLAYERS = group("players", ["team_id", "player_id"], ["age", "goals"])
AVERAGES = group("averages", ["team_id"], ["average_player_age"])
GAMES = group("games", ["game_id"], ["home", "away", "score"], event_time="played")
LEAGUES = group("leagues", ["league"], ["country"])


def joined(found):
    return [(join.group.name, [(pair.source, pair.left, pair.right) for pair in join.on]) for join in found.joins]


def test_features_of_two_groups_are_joined_by_the_key_that_they_share():
    found = plan(["average_attendance", "average_player_age"], Known(TEAMS, AVERAGES))
    assert found.base is TEAMS
    assert joined(found) == [("averages", [("g0", "team_id", "team_id")])]
    assert [output.name for output in found.outputs] == ["average_attendance", "average_player_age"]


def test_the_finest_group_is_the_base_whatever_the_order_of_names():
    for names in (["budget", "goals"], ["goals", "budget"]):
        found = plan(names, Known(TEAMS, PLAYERS))
        assert found.base is PLAYERS
        assert [output.name for output in found.outputs] == names


def test_a_composite_key_is_joined_whole():
    wages = group("wages", ["team_id", "player_id"], ["wage"])
    assert joined(plan(["goals", "wage"], Known(PLAYERS, wages))) == [
        ("wages", [("g0", "team_id", "team_id"), ("g0", "player_id", "player_id")])
    ]


def test_a_declared_foreign_key_joins_keys_of_other_names_and_leads_on():
    games = group(
        "games",
        ["game_id"],
        ["home", "score"],
        foreign_keys=[ForeignKey(columns=("home",), group="teams", references=("team_id",))],
    )
    teams = group(
        "teams",
        ["team_id"],
        ["budget", "league"],
        foreign_keys=[ForeignKey(columns=("league",), group="leagues", references=("league",))],
    )
    found = plan(["country", "score", "budget"], Known(LEAGUES, games, teams))
    assert found.base is games
    assert joined(found) == [("teams", [("g0", "home", "team_id")]), ("leagues", [("g1", "league", "league")])]


def to(other, *columns, references=("team_id",)):
    return ForeignKey(columns=columns, group=other, references=references)


DERBIES = group("derbies", ["game_id"], ["home", "away", "score"], foreign_keys=[to("teams", "home"), to("teams", "away")])


def test_a_group_that_is_joined_in_two_roles_is_not_joined_by_one_of_them_without_a_word():
    for names in (["score", "budget"], ["budget", "score"]):
        with pytest.raises(
            AmbiguousJoinError, match=r"on must name the foreign keys by which derbies@1 joins teams@1, .* say home or away"
        ):
            plan(names, Known(DERBIES, TEAMS))
    assert joined(plan(["score", "away"], Known(DERBIES, TEAMS))) == []


def test_a_role_that_is_named_is_the_one_that_is_joined():
    for names in (["score", "budget"], ["budget", "score"]):
        found = plan(names, Known(DERBIES, TEAMS), on=["away"])
        assert found.base is DERBIES
        assert joined(found) == [("teams", [("g0", "away", "team_id")])]
        assert [output.name for output in found.outputs] == names


def test_a_group_in_several_roles_is_joined_in_each_with_its_name_before_its_columns():
    found = plan(["budget", "score", "average_attendance"], Known(DERBIES, TEAMS), on=["away", "home"])
    assert joined(found) == [("teams", [("g0", "away", "team_id")]), ("teams", [("g0", "home", "team_id")])]
    assert [(output.name, output.source) for output in found.outputs] == [
        ("away_budget", "g1"),
        ("home_budget", "g2"),
        ("score", "g0"),
        ("away_average_attendance", "g1"),
        ("home_average_attendance", "g2"),
    ]
    # a foreign key of several columns has them all in its name
    keys = [to("players", side, f"{side}_scorer", references=("team_id", "player_id")) for side in ("home", "away")]
    games = group("games", ["game_id"], ["home", "home_scorer", "away", "away_scorer"], foreign_keys=keys)
    found = plan(["game_id", "home", "age"], Known(games, PLAYERS), on=["home_home_scorer", "away_away_scorer"])
    assert [output.name for output in found.outputs] == [
        *("game_id", "home", "home_home_scorer_age", "away_away_scorer_age")
    ]


def test_what_a_group_in_several_roles_leads_to_is_joined_in_each_of_them():
    teams = group("teams", ["team_id"], ["budget", "owner"], foreign_keys=[to("people", "owner", references=("person",))])
    people = group("people", ["person"], ["wealth"])
    known = Known(DERBIES, teams, people, AVERAGES)
    found = plan(["score", "wealth", "budget", "average_player_age"], known, on=["home", "away"])
    assert joined(found) == [
        ("teams", [("g0", "home", "team_id")]),
        ("teams", [("g0", "away", "team_id")]),
        ("people", [("g1", "owner", "person")]),
        ("people", [("g2", "owner", "person")]),
        ("averages", [("g1", "team_id", "team_id")]),
        ("averages", [("g2", "team_id", "team_id")]),
    ]
    assert [output.name for output in found.outputs] == [
        *("score", "home_wealth", "away_wealth", "home_budget", "away_budget"),
        *("home_average_player_age", "away_average_player_age"),
    ]


def test_roles_of_roles_have_both_names():
    people = group("people", ["person"], ["wealth"])
    owners = [to("people", role, references=("person",)) for role in ("owner", "coach")]
    known = Known(DERBIES, group("teams", ["team_id"], ["owner", "coach"], foreign_keys=owners), people)
    found = plan(["score", "teams.team_id", "wealth"], known, on=["home", "away", "owner", "coach"])
    assert [(output.name, output.source) for output in found.outputs][3:] == [
        ("home_owner_wealth", "g3"),
        ("away_owner_wealth", "g4"),
        ("home_coach_wealth", "g5"),
        ("away_coach_wealth", "g6"),
    ]
    with pytest.raises(AmbiguousJoinError, match=r"teams@1 joins people@1, .* say owner or coach"):
        plan(["score", "teams.team_id", "wealth"], known, on=["home", "away"])


def test_a_role_goes_before_a_key_of_the_spine():
    spine = Spine(columns=("game_id", "team_id"))
    found = plan(["teams.team_id", "budget", "score"], Known(DERBIES, TEAMS), spine=spine, on=["home"])
    assert joined(found) == [("derbies", [("spine", "game_id", "game_id")]), ("teams", [("g0", "home", "team_id")])]
    # the team at home is not the one that the spine names
    assert [output.name for output in found.outputs] == ["teams_team_id", "budget", "score"]
    with pytest.raises(NoJoinPathError, match="the spine has no game_id, the key of derbies@1"):
        plan(["budget", "score"], Known(DERBIES, TEAMS), spine=Spine(columns=("team_id",)), on=["home"])


@pytest.mark.parametrize(
    ("names", "on", "message"),
    [
        (["score", "budget"], ["hme"], "on must name foreign keys of the groups that are asked for, got hme: home or away"),
        (["budget"], ["home"], "got home: they have none"),
        (["score"], ["home"], r"got home: .* ask for a feature of the group that home=teams.team_id of derbies@1 refers to"),
        (["score", "country"], ["away"], "on must name foreign keys that lead to other groups of the request, got away"),
    ],
    ids=["unknown", "no-keys", "alone", "of-another"],
)
def test_a_role_that_joins_nothing_is_refused(names, on, message):
    with pytest.raises(RoleError, match=message):
        plan(names, Known(DERBIES, TEAMS, LEAGUES), on=on)


def test_roles_that_cannot_be_joined_are_refused():
    by_text = typed(DERBIES, home="string")
    spine = Spine(columns=("game_id", "team_id"))
    with pytest.raises(RoleError, match=r"on must name foreign keys by which teams@1 can be joined, got home"):
        plan(["score", "budget"], Known(by_text, TEAMS), spine=spine, on=["home"])
    with pytest.raises(NoJoinPathError, match=r"home is string in derbies@1 and team_id is int64 in teams@1"):
        plan(["score", "budget"], Known(by_text, TEAMS), on=["home"])
    left = group("left", ["a"], ["b", "x"], foreign_keys=[to("right", "b", references=("b",))])
    right = group("right", ["b"], ["a", "y"], foreign_keys=[to("left", "a", references=("a",))])
    with pytest.raises(RoleError, match=r"on must leave a group whose rows are answered, got a,b"):
        plan(["x", "y"], Known(left, right), on=["a", "b"])
    named_alike = [to("teams", "a_b"), to("teams", "a", "b", references=("team_id", "budget"))]
    games = group("games", ["game_id"], ["a", "b", "a_b"], foreign_keys=named_alike)
    with pytest.raises(RoleError, match=r"on must name one foreign key by which games@1 joins teams@1, got a_b"):
        plan(["game_id", "a", "average_attendance"], Known(games, TEAMS), on=["a_b"])


def test_a_name_that_a_role_gives_is_given_once():
    known = Known(DERBIES, TEAMS, group("named", ["game_id"], ["home_budget"]))
    with pytest.raises(FeatureError, match="several columns named home_budget"):
        plan(["home_budget", "score", "budget"], known, on=["home", "away"])
    spine = Spine(columns=("game_id", "Away_Team_ID"))
    with pytest.raises(FeatureError, match="several columns named away_team_id"):
        plan(["score", "teams.team_id"], known, spine=spine, on=["home", "away"])


def test_the_latest_version_is_the_default_and_older_ones_stay_reachable():
    second = group("teams", ["team_id"], ["average_attendance"], version=2)
    known = Known(TEAMS, second, AVERAGES)
    assert plan(["average_attendance"], known).base is second
    assert plan(["teams@1.average_attendance"], known).base is TEAMS
    # the name of another group that contains this one's is no collision
    assert plan(["teams.average_attendance"], Known(TEAMS, group("teams_eu", ["team_id"], ["rate"]))).base is TEAMS


def test_a_bare_name_in_several_groups_lists_the_full_names():
    with pytest.raises(AmbiguousNameError, match=r"'age' is in 2 groups: write one of coaches.age, players.age"):
        plan(["age"], Known(PLAYERS, group("coaches", ["coach_id"], ["age"])))


def test_a_key_can_be_asked_for_beside_features():
    found = plan(["team_id", "budget", "average_player_age"], Known(TEAMS, AVERAGES, PLAYERS))
    assert [output.name for output in found.outputs] == ["team_id", "budget", "average_player_age"]
    assert found.outputs[0].source == "g0"
    with pytest.raises(AmbiguousNameError):
        plan(["team_id"], Known(TEAMS, AVERAGES))


def test_a_typo_gets_the_nearest_names():
    with pytest.raises(UnknownNameError, match="did you mean average_attendance"):
        plan(["average_atendance"], Known(TEAMS))
    with pytest.raises(UnknownNameError, match="did you mean teams"):
        plan(["team.budget"], Known(TEAMS))
    with pytest.raises(UnknownNameError, match=r"no feature 'budgt' in group teams@1: did you mean budget"):
        plan(["teams.budgt"], Known(TEAMS))
    with pytest.raises(UnknownNameError, match=r"no version 'teams@3': did you mean teams@1"):
        plan(["teams@3.budget"], Known(TEAMS))


def test_groups_without_a_common_key_show_both_keys_and_the_remedy():
    with pytest.raises(
        NoJoinPathError, match=r"teams@1 \(key team_id\) and leagues@1 \(key league\) share no key.*--foreign-key"
    ):
        plan(["budget", "country"], Known(TEAMS, LEAGUES))


def typed(found, **types):
    return replace(found, columns=tuple(replace(each, type=types.get(each.name, each.type)) for each in found.columns))


def test_keys_whose_values_can_never_be_equal_are_no_way_to_join():
    by_text = typed(AVERAGES, team_id="string")
    with pytest.raises(
        NoJoinPathError,
        match=r"team_id is int64 in teams@1 and team_id is string in averages@1, whose values are never equal",
    ):
        plan(["budget", "average_player_age"], Known(TEAMS, by_text))
    # of one family they can be
    assert joined(plan(["budget", "average_player_age"], Known(TEAMS, typed(AVERAGES, team_id="decimal128(10, 0)"))))
    away = [ForeignKey(columns=("away",), group="teams", references=("team_id",))]
    games = typed(group("games", ["game_id"], ["away", "score"], foreign_keys=away), away="string")
    with pytest.raises(NoJoinPathError, match=r"away is string in games@1 and team_id is int64 in teams@1"):
        plan(["score", "budget"], Known(games, TEAMS))


def test_a_foreign_key_goes_before_a_name_that_means_something_else():
    towns = typed(group("towns", ["id"], ["people"]), id="string")
    shops = group("shops", ["id"], ["sales"])
    places = [ForeignKey(columns=("town",), group="towns", references=("id",))]
    sites = typed(group("sites", ["id"], ["town", "size"], foreign_keys=places), town="string")
    assert joined(plan(["sales", "people", "size"], Known(shops, towns, sites))) == [
        ("sites", [("g0", "id", "id")]),
        ("towns", [("g1", "town", "id")]),
    ]


def test_a_join_that_multiplies_rows_is_refused_unless_it_is_meant():
    coaches = group("coaches", ["team_id", "coach_id"], ["wins"])
    with pytest.raises(FanoutError, match="--allow-fanout"):
        plan(["goals", "wins"], Known(PLAYERS, coaches))
    found = plan(["goals", "wins"], Known(PLAYERS, coaches), allow_fanout=True)
    assert [join.is_unique for join in found.joins] == [False]


def test_all_features_of_a_group_and_columns_of_one_name():
    other = group("budgets", ["team_id"], ["budget"])
    found = plan(["teams.*", "budgets.budget", "teams.budget"], Known(TEAMS, other))
    assert [output.name for output in found.outputs] == ["team_id", "average_attendance", "teams_budget", "budgets_budget"]


def test_event_times_decide_which_row_of_a_key_is_joined():
    ratings = group("ratings", ["game_id"], ["rating"], event_time="rated")
    assert plan(["score", "rating"], Known(GAMES, ratings)).joins[0].moment is Moment.AS_OF
    forms = group("forms", ["team_id"], ["form"], event_time="at")
    assert plan(["budget", "form"], Known(TEAMS, forms)).joins[0].moment is Moment.LATEST
    assert plan(["budget", "average_player_age"], Known(TEAMS, AVERAGES)).joins[0].moment is Moment.ONLY


def test_a_spine_is_what_groups_are_joined_to():
    spine = Spine(columns=("game_id", "team_id", "ts", "won"), event_time="ts")
    found = plan(["score", "budget", "team_id"], Known(GAMES, TEAMS, PLAYERS), spine=spine)
    assert found.base is None
    assert [(join.group.name, join.moment) for join in found.joins] == [("games", Moment.AS_OF), ("teams", Moment.ONLY)]
    # its own columns come with it
    assert [output.name for output in found.outputs] == ["score", "budget"]


def test_a_spine_without_a_groups_key_is_refused():
    with pytest.raises(NoJoinPathError, match="the spine has no team_id, the key of teams@1; its columns are id"):
        plan(["budget"], Known(TEAMS), spine=Spine(columns=("id",)))
    with pytest.raises(FanoutError, match="the spine has no player_id"):
        plan(["goals"], Known(PLAYERS), spine=Spine(columns=("team_id",)))


@pytest.mark.parametrize("name", ["", "*", ".x", "a.", "a b.c", "teams@x.y", "teams; drop table x.y", "@1"])
def test_what_is_no_name_is_told(name):
    with pytest.raises(FeatureError):
        plan([name], Known(TEAMS))
