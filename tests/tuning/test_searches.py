"""One contract for every search: points of the space, nothing twice, the same for the same seed, better than chance."""

import math

import numpy as np
import pytest

from hops_magic.errors import OptionError, UsageError
from hops_magic.runs.states import TrialState
from hops_magic.tuning.search import Outcome
from hops_magic.tuning.searches import make_search
from hops_magic.tuning.searches.checked import Checked
from hops_magic.tuning.space import Space, choice, grid, lognormal, loguniform, normal, quniform, randint, uniform

SPACE = Space.of(
    {
        "x": uniform(-5.0, 5.0),
        "lr": loguniform(1e-4, 1.0),
        "n": normal(0.0, 1.0),
        "w": lognormal(0.0, 0.5),
        "q": quniform(0, 50, 5),
        "i": randint(0, 100),
        "kind": choice(["plain", {"y": uniform(0.0, 1.0)}]),
    }
)
PLANE = Space.of({"x": uniform(-5.0, 5.0), "y": uniform(-5.0, 5.0)})
SMALL = Space.of({"a": choice([1, 2, 3]), "b": grid([True, False]), "c": randint(0, 2)})


class Own:
    """A search as a user may write it."""

    def __init__(self, space, seed):
        self.space, self.seed, self.seen = space, seed, set()

    def ask(self, number):
        for attempt in range(400):
            point = self.space.sample(np.random.default_rng([self.seed, number, attempt]))
            if str(point) not in self.seen:
                self.seen.add(str(point))
                return point
        return None

    def tell(self, number, point, outcome):
        self.seen.add(str(dict(point)))


@pytest.fixture(params=["tpe", "anneal", "random", "optuna", "auto", "own"])
def make(request):
    def make(space, seed=0, **options):
        if request.param == "own":
            return Own(space, seed)
        return make_search(request.param, space, seed=seed, **options)

    make.name = request.param
    return make


def study(search, space, loss, trials, pending=4, first=0):
    """Run trials with several pending; some are stopped, some fail, one is no number. Return the points in order."""
    asked, running = [], []
    for number in range(first, first + trials):
        point = search.ask(number)
        asked.append(point)
        running.append((number, point))
        if len(running) == pending:
            done, at = running.pop(0)
            states = {3: TrialState.STOPPED, 7: TrialState.FAILED}
            state = states.get(done % 10, TrialState.DONE)
            value = None if state is TrialState.FAILED else loss(space.values(at))
            search.tell(done, at, Outcome(state=state, loss=math.nan if done == 12 else value, step=5))
    return asked


def mixed_loss(values):
    return values["x"] ** 2 + abs(math.log10(values["lr"]) + 2) + abs(values["i"] - 50) / 50


def test_points_are_in_the_space_whatever_is_told(make):
    for point in study(make(SPACE), SPACE, mixed_loss, 40):
        values = SPACE.values(point)
        assert -5 <= values["x"] <= 5
        assert 1e-4 <= values["lr"] <= 1
        assert values["q"] in range(0, 51, 5)
        assert values["i"] in range(100)
        assert ("kind[1].y" in point) == (point["kind"] == 1)


def test_the_same_seed_and_results_give_the_same_points(make):
    first = study(make(SPACE, seed=3), SPACE, mixed_loss, 30)
    assert first == study(make(SPACE, seed=3), SPACE, mixed_loss, 30)
    assert first != study(make(SPACE, seed=4), SPACE, mixed_loss, 30)


def test_nothing_comes_twice_and_a_small_space_ends(make):
    points = study(make(SMALL), SMALL, lambda v: v["a"], 14, pending=3)
    keys = [str(sorted(point.items())) for point in points if point is not None]
    assert len(set(keys)) == len(keys) == 12
    assert points[12:] == [None, None]


def test_a_search_goes_on_from_what_another_learned(make):
    before = make(PLANE)
    told = []
    for number in range(30):
        point = before.ask(number)
        outcome = Outcome(state=TrialState.DONE, loss=sum(v**2 for v in PLANE.values(point).values()), step=1)
        before.tell(number, point, outcome)
        told.append((number, point, outcome))
    after = make(PLANE, seed=1)
    for known in told:
        after.tell(*known)
    points = [after.ask(number) for number in range(30, 36)]
    assert all(point not in [p for _, p, _ in told] for point in points)
    if make.name not in ("random", "own"):
        # it has learned where the minimum is: it looks nearer to it than chance would (mean distance 3.8)
        assert np.mean([math.hypot(*PLANE.values(point).values()) for point in points]) < 3.5


@pytest.mark.parametrize("name", ["tpe", "anneal", "optuna"])
def test_learning_is_better_than_chance(name):
    def best(name, seed):
        search, found = make_search(name, PLANE, seed=seed), math.inf
        running = []
        for number in range(60):
            running.append((number, search.ask(number)))
            if len(running) == 4:
                done, point = running.pop(0)
                loss = sum((v - 1) ** 2 for v in PLANE.values(point).values())
                found = min(found, loss)
                search.tell(done, point, Outcome(state=TrialState.DONE, loss=loss, step=1))
        return found

    assert np.median([best(name, s) for s in range(5)]) < np.median([best("random", s) for s in range(5)])


def test_known_points_come_first(make):
    if make.name == "own":
        return
    known = [PLANE.point({"x": 1.0, "y": 2.0}), PLANE.point({"x": 0.0, "y": 0.0})]
    search = make(PLANE, start_with=known)
    assert [search.ask(0), search.ask(1)] == known
    assert search.ask(2) not in known


def test_a_grid_has_each_point_once_and_goes_on_after_what_was_told():
    search = make_search("grid", SMALL, seed=0)
    points = [search.ask(number) for number in range(13)]
    assert points == [*SMALL.grid(100), None]
    later = make_search("grid", SMALL, seed=0)
    for number in range(5):
        later.tell(number, points[number], Outcome(state=TrialState.DONE, loss=1.0))
    assert [later.ask(number) for number in range(5, 13)] == points[5:]


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(OptionError, match="did you mean anneal"):
        make_search("aneal", PLANE, seed=0)


def test_hyperopts_own_spaces_work_with_every_search(make):
    from hyperopt import hp

    space = Space.of(
        {
            "lr": hp.loguniform("lr", -9, 0),
            "net": hp.choice("net", [{"k": 0}, {"k": 1, "w": hp.qnormal("w", 10, 3, 2), "u": hp.quniform("u", 1, 9, 2)}]),
            "p": hp.pchoice("p", [(0.2, "a"), (0.8, "b")]),
            "n": hp.randint("n", 7),
        }
    )
    points = study(make(space), space, lambda v: v["lr"] + v["net"]["k"] + v["n"], 30)
    for point in points:
        values = space.values(point)
        assert set(values["net"]) == ({"k"} if values["net"]["k"] == 0 else {"k", "w", "u"})
        assert 0 <= values["n"] < 7


def test_a_grid_knows_a_value_by_what_the_cell_sees():
    space = Space.of({"n": randint(0, 3)})
    search = make_search("grid", space, seed=0, start_with=[{"n": 2.0}])
    assert [search.ask(number) for number in range(4)] == [{"n": 2.0}, {"n": 0}, {"n": 1}, None]


@pytest.mark.parametrize(
    ("bounds", "values"),
    [((1.5, 3.5, 1), {2, 3}), ((1, 10, 4), {4, 8}), ((0.05, 0.5, 0.1), {0.1, 0.2, 0.3, 0.4, 0.5})],
)
@pytest.mark.parametrize("name", ["auto", "tpe", "random", "anneal"])
def test_steps_stay_multiples_inside_their_bounds(name, bounds, values):
    space = Space.of({"x": quniform(*bounds), "y": uniform(0.0, 1.0)})
    for sign in (1, -1):  # drawn to either bound
        seen = study(make_search(name, space, seed=1), space, lambda v, sign=sign: sign * v["x"], 30)
        assert {space.values(point)["x"] for point in seen} <= values


@pytest.mark.parametrize(
    ("proposed", "message"),
    [
        ({"x": 7.0, "i": 3}, "x must be a number from 0 to 5, got 7.0"),
        ({"x": 1.0}, "i is missing"),
        ({"x": 1.0, "i": 3, "lr": 1}, "the space has no lr"),
        ({"x": 1.0, "i": 3.5}, "i must be a whole number from 0 to 9, got 3.5"),
        ({"x": math.nan, "i": 3}, "x must be a number from 0 to 5, got nan"),
        (None, "ask must return a dictionary"),
        ([1.0, 3], "ask must return a dictionary"),
    ],
)
def test_points_of_ones_own_search_are_held_to_the_space(proposed, message):
    class Fixed:
        def ask(self, number):
            return proposed

        def tell(self, number, point, outcome):
            pass

    space = Space.of({"x": uniform(0.0, 5.0), "i": randint(0, 10)})
    with pytest.raises(UsageError, match=f"the search proposed .* for trial 0: .*{message}"):
        Checked(Fixed(), space).ask(0)


def test_a_search_of_ones_own_may_use_numpy_and_know_more_than_is_chosen():
    class Fixed:
        def ask(self, number):
            return {"x": np.float32(0.5), "kind": np.int64(0), "kind[1].y": 0.25} if number < 2 else None

    space = Space.of({"x": uniform(0.0, 5.0), "kind": choice(["plain", {"y": uniform(0.0, 1.0)}])})
    search = Checked(Fixed(), space)
    point = search.ask(0)
    assert (point, type(point["x"]), type(point["kind"])) == ({"x": 0.5, "kind": 0}, float, int)
    assert search.ask(2) is None


def _loss_where(works):
    return lambda v: (v["x"] - 0.6) ** 2 + (v["y"] - 0.5) ** 2 if works(v) else None


@pytest.mark.parametrize(
    "works",
    [
        lambda v: v["x"] + v["y"] <= 1,  # the best lies just below a border
        lambda v: v["kind"] in ("a", "b"),
        lambda v: 0.3 <= v["x"] <= 0.7,
    ],
    ids=["border", "category", "band"],
)
def test_no_search_comes_back_to_where_trials_fail(works):
    space = Space.of({"x": uniform(0.0, 1.0), "y": uniform(0.0, 1.0), "kind": choice(["a", "b", "c", "d"])})
    loss = _loss_where(works)

    def failures(name, seed):
        search, failed = make_search(name, space, seed=seed), []
        for number in range(80):
            point = search.ask(number)
            value = loss(space.values(point))
            failed.append(value is None)
            state = TrialState.FAILED if value is None else TrialState.DONE
            search.tell(number, point, Outcome(state=state, loss=value, step=1))
        return sum(failed[40:])

    mean = {name: np.mean([failures(name, seed) for seed in range(5)]) for name in ("random", "auto", "tpe", "anneal")}
    assert max(mean["auto"], mean["tpe"], mean["anneal"]) < mean["random"], mean
