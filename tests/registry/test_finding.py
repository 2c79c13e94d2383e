"""Lists, look-ups, comparisons and deletions."""

import functools

import pytest
import sqlalchemy
from mlflow import MlflowClient
from recorded_runs import START, epochs, finished, opened, record

from hops_magic.errors import HopsError, NotFoundError, UsageError
from hops_magic.registry import CapturedName, layout, open_registry
from hops_magic.registry.bulk import FinishedRun, write_many
from hops_magic.registry.text_parts import part_of
from hops_magic.runs import events as ev
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.runs.states import RunState

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "'; drop table runs; --",
    '" or "1"="1',
    "100%_\\",
    "back`tick`",
    "\u202egnp.exe",
    "x" * 100_000,
]


def record_three(recorded):
    recorded("aaaa00000001", epochs(0.9, 0.5), name="first", user="ada", options={"workers": 1}, created_at=START)
    recorded("aabb00000002", epochs(0.9, 0.1), name="second", user="bob", options={"workers": 2}, created_at=START + 10)
    recorded("aabb00000003", name="third", experiment="flights", state=RunState.FAILED, user="bob", created_at=START + 20)


@pytest.fixture
def three(recorded):
    record_three(recorded)


@pytest.fixture(scope="module")
def listed(shared_settings):
    """A registry with the three runs, to be read only."""
    record_three(functools.partial(record, shared_settings))
    return open_registry(shared_settings)


def names(runs):
    return [run.name for run in runs]


def test_runs_are_listed_newest_first_in_pages(listed):
    assert names(listed.runs()) == ["third", "second", "first"]
    assert names(listed.runs(limit=2)) == ["third", "second"]
    assert names(listed.runs(limit=2, offset=2)) == ["first"]
    assert listed.runs(limit=2, offset=3) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"experiment": "flights"}, ["third"]),
        ({"state": "failed"}, ["third"]),
        ({"state": RunState.DONE}, ["second", "first"]),
        ({"text": "BOB"}, ["third", "second"]),
        ({"text": "aabb0000"}, ["third", "second"]),
        ({"text": "flights"}, ["third"]),
        ({"filter": "metrics.loss < 0.3"}, ["second"]),
        ({"filter": "params.workers = '1'"}, ["first"]),
        ({"filter": "metrics.loss < 1 and params.workers = '2'", "state": "done"}, ["second"]),
        ({"sort": "loss"}, ["second", "first", "third"]),
        ({"sort": "-metrics.loss"}, ["first", "second", "third"]),
        ({"sort": "name"}, ["first", "second", "third"]),
        ({"sort": "started"}, ["first", "second", "third"]),
    ],
)
def test_lists_are_filtered_and_sorted(listed, query, expected):
    assert names(listed.runs(**query)) == expected


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"experiment": "flihgts"}, "there is no experiment 'flihgts': did you mean flights"),
        ({"state": "dead"}, "state must be one of submitted, .*got dead"),
        ({"filter": "loss < 0.3"}, r"the filter must compare metrics\.NAME"),
        ({"filter": "metrics.loss <"}, "the filter metrics.loss < cannot be read"),
        ({"sort": "-"}, "sort must be one of"),
        ({"limit": 0}, "limit must be at least 1"),
    ],
)
def test_bad_queries_get_one_sentence(listed, query, sentence):
    with pytest.raises(HopsError, match=sentence) as caught:
        listed.runs(**query)
    assert "\n" not in str(caught.value)


def test_a_run_is_found_by_id_beginning_or_name(registry, three, recorded):
    assert registry.run("aaaa00000001").name == "first"
    assert registry.run("aaa").name == "first"
    assert registry.run("second").run_id == "aabb00000002"
    assert registry.run(registry.run("second").record_id).name == "second"
    recorded("cccc00000004", name="second", created_at=START + 30)
    assert registry.run("second").run_id == "cccc00000004"  # the newest of that name
    with pytest.raises(NotFoundError, match=r"several runs begin with aabb .*write more of the id"):
        registry.run("aabb")
    with pytest.raises(NotFoundError, match="there is no run 'secnod': did you mean second"):
        registry.run("secnod")
    for nonsense in ("", "%", "_", "ffff", "a' or 1=1"):
        with pytest.raises(NotFoundError):
            registry.run(nonsense)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_names(registry, recorded, name):
    recorded("aaaa00000001", name=name, experiment=name, notebook=name, user=name, options={"workers": name})
    recorded("aaaa00000002", name="innocent")
    found = registry.run(name) if len(name) < 1_000 else registry.run("aaaa00000001")
    assert (found.run_id, found.name[:50]) == ("aaaa00000001", name[:50])
    assert registry.runs(name)[0].run_id == "aaaa00000001"
    assert "aaaa00000001" in [run.run_id for run in registry.runs(text=name[:50])]
    assert registry.delete([found])
    assert [run.run_id for run in registry.runs()] == ["aaaa00000002"]


def test_deleted_runs_come_back(registry, three):
    assert names(registry.delete(["first"])) == ["first"]
    assert names(registry.delete(["second", "third"])) == ["second", "third"]
    assert registry.runs() == []
    assert registry.run("second").is_deleted
    assert sorted(names(registry.restore())) == ["second", "third"]
    assert names(registry.runs()) == ["third", "second"]
    assert names(registry.restore(["aaaa"])) == ["first"]
    assert registry.restore() == []
    assert registry.metrics("first")["loss"][-1][1] == 0.5


def test_a_study_is_deleted_and_restored_with_its_trials(registry, recorded):
    recorded("bbbb00000000", name="search")
    recorded("bbbb00000001", name="trial", parent="bbbb00000000")
    assert names(registry.delete(["search"])) == ["search", "trial"]
    assert names(registry.restore(["search"])) == ["search", "trial"]


def test_a_study_of_many_trials_is_deleted_and_restored_at_once(registry, settings, recorded):
    recorded("bbbb00000000", name="search")
    experiment = registry.run("search").experiment_id
    tags = {layout.TAG_PARENT: "bbbb00000000", layout.TAG_STATE: "done"}
    trials = [
        FinishedRun(
            name=f"trial {n}",
            status="FINISHED",
            started_ms=n,
            ended_ms=n + 1,
            tags={**tags, layout.TAG_RUN_ID: f"bbbb00000000-{n}"},
        )
        for n in range(1_000)
    ]
    write_many(registry._store, experiment, trials)
    statements = []
    engine = registry._store.client._tracking_client.store.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda _c, _u, text, *_: statements.append(text.split()[0]))
    assert len(registry.delete(["search"])) == 1_001
    assert len([word for word in statements if word in ("UPDATE", "INSERT", "DELETE")]) < 20
    assert registry.runs(trials=True) == []
    statements.clear()
    assert len(registry.restore()) == 1_001
    assert len([word for word in statements if word in ("UPDATE", "INSERT", "DELETE")]) < 20
    # MLflow sees them as its own deletions and restorations
    assert MlflowClient(settings.tracking_uri).get_run(trials[7].record_id).info.lifecycle_stage == "active"


def test_a_run_that_goes_on_is_not_deleted(registry, settings, three):
    recorder = opened(settings, "dddd00000001", name="alive")
    with pytest.raises(UsageError, match="alive still runs: stop it first, nothing was deleted"):
        registry.delete(["first", "alive"])
    assert len(registry.runs()) == 4
    finished(recorder, "dddd00000001", [])


def test_runs_whose_supervisor_died_are_closed(registry, settings, three):
    opened(settings, "dddd00000001", name="orphan")
    assert names(registry.unfinished()) == ["orphan"]
    assert names(registry.mark_lost(["orphan", "first"])) == ["orphan"]
    orphan = registry.run("orphan")
    assert (orphan.state, orphan.reason) == (RunState.FAILED, "lost: the cluster that ran it is gone")
    assert registry.unfinished() == []
    assert registry.run("first").state is RunState.DONE


def test_an_experiment_that_was_deleted_can_be_used_again(registry, settings, recorded, three):
    client = MlflowClient(settings.tracking_uri)
    client.delete_experiment(client.get_experiment_by_name("flights").experiment_id)
    recorded("eeee00000001", experiment="flights")
    assert "eeee00000001" in [run.run_id for run in registry.runs("flights")]


def test_only_experiments_that_somebody_made_are_listed(registry, three):
    assert {experiment.name for experiment in registry.experiments()} == {"digits", "flights"}


def test_runs_are_compared(registry, recorded):
    data = {"name": "x", "type": "ndarray", "size_bytes": 8, "how": "with the program"}
    same = CapturedName(name="y", type="int", size_bytes=4, content_hash="same", how="with the program")
    recorded(
        "aaaa00000001",
        epochs(0.5, scope="batch") + epochs(0.4),
        name="a",
        source="x = 1\nfit(x)\n",
        options={"workers": 1, "batch": "global"},
        captured=(CapturedName(**data, content_hash="h1"), same),
        packages={"keras": "3.14", "numpy": "2.0"},
        seed=1,
    )
    recorded(
        "aaaa00000002",
        epochs(0.3),
        name="b",
        source="x = 2\nfit(x)\n",
        options={"workers": 2, "batch": "global"},
        captured=(CapturedName(**data, content_hash="h2"), same),
        packages={"keras": "3.15", "numpy": "2.0"},
        seed=1,
    )
    comparison = registry.compare("a", "b")
    assert comparison.params == {"workers": ("1", "2")}
    assert comparison.metrics == {"loss": (0.4, 0.3)}
    assert comparison.captured == {"x": ("h1", "h2")}
    assert comparison.environment == {"keras": ("3.14", "3.15")}
    assert "-x = 1\n+x = 2\n" in comparison.source_diff
    with pytest.raises(UsageError, match="at least two"):
        registry.compare("a")


def test_users_tag_runs(registry, three):
    registry.tag("first", "quality", "it's good")
    assert names(registry.runs(filter="tags.quality LIKE '%good'")) == ["first"]
    with pytest.raises(UsageError, match="a tag's name must be"):
        registry.tag("first", "hops.state", "done")


def test_runs_that_others_recorded_are_shown_too(registry, settings):
    client = MlflowClient(settings.tracking_uri)
    foreign = client.create_run("0", run_name="by hand")
    client.log_metric(foreign.info.run_id, "loss", 0.5)
    client.set_terminated(foreign.info.run_id)
    (run,) = registry.runs()
    assert (run.name, run.state, run.metrics, run.experiment) == ("by hand", RunState.DONE, {"loss": 0.5}, "Default")
    assert registry.run("by hand").run_id == foreign.info.run_id
    assert registry.output(run) == ""
    with pytest.raises(NotFoundError, match=r"by hand has no cell\.py"):
        registry.source(run)


def test_curves_that_others_recorded_without_steps_are_numbered(registry, settings):
    client = MlflowClient(settings.tracking_uri)
    foreign = client.create_run("0", run_name="by hand")
    for at, value in enumerate((0.9, 0.5, 0.4)):
        client.log_metric(foreign.info.run_id, "loss", value, timestamp=1_000 + at)
    assert [point[:2] for point in registry.metrics("by hand")["loss"]] == [(0, 0.9), (1, 0.5), (2, 0.4)]


def test_runs_that_read_something_come_newest_first_and_no_more_than_are_wanted(registry, recorded):
    read = FeatureInput(kind=InputKind.GROUP, name="teams", version=1, commit=1, features=("wins",))
    for number in range(4):
        recorded(f"aaaa0000000{number}", name=f"run {number}", created_at=START + number, inputs=(read,) if number else ())
    assert names(registry.runs_that_read(["teams@1"], limit=2)) == ["run 3", "run 2"]
    assert len(registry.runs_that_read(["teams@1"])) == 3


def test_runs_are_found_by_many_ids_at_once(registry, three):
    registry.delete(["first"])
    ids = {registry.run(name).record_id: name for name in ("first", "second")}
    found = registry.runs_of_records([*ids, "0" * 32, "' or 1=1"])
    assert {record_id: info.name for record_id, info in found.items()} == ids


TEXT = "höher \U0001f600\r\n" * 3


@pytest.mark.parametrize(("start", "length"), [(0, 5), (1, 3), (6, 2), (-1, 4), (0, 100), (25, 10), (100, 5)])
def test_a_part_of_output_is_that_of_its_text(registry, settings, start, length):
    finished(opened(settings, "aaaa00000001"), "aaaa00000001", [ev.Output(rank=1, stream="stdout", text=TEXT)])
    part = registry.output_part("aaaa00000001", 1, start=start, length=length)
    first = max(0, len(TEXT) - length) if start < 0 else min(start, len(TEXT))
    assert (part.text, part.start, part.end, part.total) == (
        TEXT[first : first + length],
        first,
        min(first + length, len(TEXT)),
        len(TEXT),
    )


def test_output_that_is_no_text_keeps_its_place(tmp_path):
    file = tmp_path / "output"
    file.write_bytes("ab\ud800c".encode("utf-8", "surrogatepass") + b"\xff" + b"d" * 2_000_000)
    part = part_of(file, 2, 4)
    assert (part.text, part.start, part.end, part.total) == ("\ufffdc\ufffdd", 2, 6, 2_000_005)
    assert part_of(file, 2_000_004, 10).text == "d"


def test_output_of_a_run_that_still_writes_is_read_from_its_folder(registry, settings):
    recorder = opened(settings, "aaaa00000001")
    finished(recorder, "aaaa00000001", [ev.Output(rank=0, stream="stdout", text="x")])
    assert registry.output("aaaa00000001") == "x"
