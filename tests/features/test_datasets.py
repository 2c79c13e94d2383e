"""Training datasets: splits, formats, what made them, and that the recipe gives the same bytes."""

import datetime
import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hops_magic.features.errors import ConflictError, FeatureError, StoreError, UnknownNameError
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.runs.inputs import InputKind
from hops_magic.settings import FeatureSettings

ROWS = 1_001


@pytest.fixture
def clicks(store):
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01", tz="UTC")
    frame = pd.DataFrame(
        {
            "user": np.arange(ROWS),
            "at": [start + pd.Timedelta(minutes=int(minute)) for minute in rng.permutation(ROWS)],
            "clicks": rng.integers(0, 9, ROWS),
            "time": rng.normal(size=ROWS),
            "bought": rng.integers(0, 2, ROWS),
        }
    )
    store.save(frame, "clicks", key="user", event_time="at", statistics=False)
    return store


REQUEST = request_of("user", "clicks", "time", "bought")


def files(dataset):
    root = Path(dataset.location)
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_splits_have_their_shares_and_no_row_twice(clicks):
    made = clicks.create_dataset("buying", REQUEST, label="bought", split={"train": 0.7, "valid": 0.1, "test": 0.2}, seed=7)
    assert made.rows == {"train": 701, "valid": 100, "test": 200}
    users = [clicks.read_dataset("buying", split)["user"].tolist() for split in made.rows]
    assert sorted(itertools.chain(*users)) == list(range(ROWS))
    other = clicks.create_dataset("buying", REQUEST, split={"train": 0.7, "test": 0.3}, seed=8)
    assert other.version == 2
    assert set(clicks.read_dataset("buying@2", "train")["user"]) != set(users[0])
    assert list(made.statistics) == ["train", "valid", "test"]


def test_splits_by_time_end_before_their_ends(clicks):
    noon, end = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC), None
    request = request_of("user", "at", "bought")
    clicks.create_dataset("buying", request, split_by_time={"train": noon, "test": end}, statistics=False)
    train, test = (clicks.read_dataset("buying", split) for split in ("train", "test"))
    assert train["at"].max() < pd.Timestamp(noon) <= test["at"].min()
    assert (len(train), len(test)) == (720, ROWS - 720)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "npy", "tfrecord"])
def test_every_format_comes_back(clicks, file_format):
    clicks.create_dataset("buying", REQUEST, label="bought", file_format=file_format, statistics=False)
    found = clicks.read_dataset("buying").sort_values("user").reset_index(drop=True)
    expected = clicks.get("user", "clicks", "time", "bought").sort_values("user").reset_index(drop=True)
    pd.testing.assert_frame_equal(found.astype("float32"), expected.astype("float32"))


def test_rows_that_no_split_by_time_takes_are_told(clicks):
    hour = [datetime.datetime(2024, 1, 1, number, tzinfo=datetime.UTC) for number in range(24)]
    request = request_of("user", "at")
    with pytest.warns(
        UserWarning, match="rows that are in no split: 281 from 2024-01-01T12:00:00.* on, where split test ends"
    ):
        made = clicks.create_dataset("a", request, split_by_time={"train": hour[6], "test": hour[12]}, statistics=False)
    assert made.rows == {"train": 360, "test": 360}
    # as text, the later end would come first
    zone = datetime.timezone(datetime.timedelta(hours=9))
    ends = {"train": hour[6].astimezone(zone), "test": hour[12], "rest": None}
    assert clicks.create_dataset("a", request, split_by_time=ends, statistics=False).rows["train"] == 360
    with pytest.raises(FeatureError, match="must follow each other"):
        clicks.create_dataset("a", request, split_by_time={"train": hour[6], "test": hour[6].astimezone(zone)})


def test_csv_gives_back_every_string(store):
    said = ["", "NA", "null", "NaN", None, "#N/A", ' "quoted", ', "two\nlines", "1", "true"]
    rows = {"id": list(range(10)), "said": said, "score": [float("nan"), None, *range(8)]}
    store.save(pa.table(rows), "notes", key="id", statistics=False)
    store.create_dataset("said", request_of("said", "score"), file_format="csv", statistics=False)
    found = store.read_dataset("said", form="arrow")
    assert found["said"].to_pylist() == said
    assert str(found["score"].to_pylist()) == str([float("nan"), None, *map(float, range(8))])
    store.create_dataset("only", request_of("said"), file_format="csv", statistics=False)
    assert store.read_dataset("only", form="arrow")["said"].to_pylist() == said


@pytest.mark.parametrize("values", [[[1], [2, 3]], [{"a": 1}, {"a": 2}], [b"a", b"\xff"]])
def test_csv_refuses_what_it_cannot_hold(store, values):
    store.save(pa.table({"id": [1, 2], "x": values}), "things", key="id", statistics=False)
    with pytest.raises(FeatureError, match="--format csv holds numbers, times and strings, and column x is of type"):
        store.create_dataset("all", request_of("x"), file_format="csv", statistics=False)


@pytest.mark.parametrize("file_format", ["parquet", "csv", "npy", "tfrecord"])
def test_a_dataset_of_every_format_streams(clicks, file_format):
    clicks.create_dataset("buying", REQUEST, label="bought", file_format=file_format, statistics=False)
    rows = clicks.read_dataset("buying", form="tf")
    batches = list(rows.dataset(100, label="bought"))
    assert [tuple(x.shape) for x, _ in batches[-2:]] == [(100, 3), (1, 3)]
    whole = clicks.read_dataset("buying", form="arrow")
    assert rows.to_arrow().to_pydict() == whole.to_pydict()
    assert len(clicks.read_dataset("buying", form="dask").compute()) == ROWS
    # a version never changes: its rows are converted once, and those of the next one anew
    assert clicks.read_dataset("buying", form="tf").files == rows.files
    clicks.create_dataset("buying", REQUEST, file_format=file_format, statistics=False)
    assert clicks.read_dataset("buying", form="tf").files != rows.files


@pytest.mark.parametrize("file_format", ["parquet", "csv", "npy", "tfrecord"])
def test_the_recipe_gives_the_same_bytes_after_the_group_has_changed(clicks, file_format, day):
    spine = pd.DataFrame({"user": np.arange(0, ROWS, 3), "when": [day(3)] * len(range(0, ROWS, 3)), "y": 1.0})
    for number, request in enumerate([REQUEST, request_of("clicks", "time", spine=spine[["user", "y"]])], 1):
        made = clicks.create_dataset("buying", request, split={"a": 0.5, "b": 0.5}, seed=1, file_format=file_format)
        before = files(made)
        clicks.save(
            pd.DataFrame({"user": [1], "at": [day(2)], "clicks": [99], "time": [9.0], "bought": [1]}),
            "clicks",
            statistics=False,
        )
        for split in ("a", "b"):
            shutil.rmtree(Path(made.location) / split)
        with pytest.raises(StoreError, match="recreate makes them anew"):
            clicks.read_dataset(f"buying@{number}", "a")
        clicks.recreate_dataset(f"buying@{number}")
        assert files(made) == before


def test_the_recipe_keeps_the_limit_and_the_keys(clicks):
    request = request_of("clicks", with_keys=True, limit=10)
    made = clicks.create_dataset("buying", request, statistics=False)
    before = files(made)
    shutil.rmtree(Path(made.location) / "all")
    clicks.recreate_dataset("buying")
    assert files(made) == before
    found = clicks.read_dataset("buying")
    assert (list(found), found["user"].tolist()) == (["user", "at", "clicks"], list(range(10)))
    with pytest.raises(FeatureError, match="a training dataset is made for a --spine"):
        clicks.create_dataset("buying", request_of("clicks", keys={"user": [1]}))


def test_rows_of_a_join_that_multiplies_them_have_one_order(store):
    games = {"game": [5, 3, 4, 1, 2], "team": [1, 1, 2, 2, 1], "goals": [50, 30, 40, 10, 20]}
    store.save(pa.table(games), "games", key="team,game", statistics=False)
    store.save({"team": [2, 1], "town": ["Rome", "Oslo"]}, "teams", key="team", statistics=False)
    for spine in (None, {"team": [2, 1]}):
        request = request_of("town", "goals", spine=spine, allow_fanout=True)
        made = store.create_dataset("goals", request, statistics=False)
        found = store.read_dataset(made.full_name)
        by_town = {town: rows["goals"].tolist() for town, rows in found.groupby("town")}
        assert by_town == {"Oslo": [20, 30, 50], "Rome": [10, 40]}


@pytest.mark.parametrize("file_format", ["parquet", "csv", "npy"])
def test_files_that_are_gone_or_damaged_are_told_and_made_anew(clicks, file_format):
    made = clicks.create_dataset("buying", REQUEST, label="bought", file_format=file_format, statistics=False)
    before = files(made)
    last = Path(made.location, sorted(made.checksums)[-1])
    last.unlink()
    for form in ("df", "tf"):
        with pytest.raises(StoreError, match=f"the file all/{last.name} of the dataset is gone .*: recreate makes it anew"):
            clicks.read_dataset("buying", form=form)
    clicks.recreate_dataset("buying")
    assert files(made) == before
    damaged = Path(made.location, sorted(made.checksums)[0 if file_format != "npy" else 1])
    damaged.write_bytes(b'"user"\n"one"' if file_format == "csv" else damaged.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"a file of the dataset at .* is damaged \(.*\): recreate makes it anew"):
        clicks.read_dataset("buying")
    clicks.recreate_dataset("buying")
    assert len(clicks.read_dataset("buying")) == ROWS


def test_a_point_in_time_dataset_keeps_its_spine(clicks, day):
    spine = pd.DataFrame({"user": [1, 2], "when": [day(3), day(3)]})
    request = request_of("clicks", spine=spine, event_time="when")
    made = clicks.create_dataset("buying", request, statistics=False)
    Path(made.location, "all", "part-00000.parquet").unlink()
    clicks.recreate_dataset("buying")
    assert clicks.read_dataset("buying")["user"].tolist() == [1, 2]


def test_a_recipe_that_gives_other_bytes_is_told(clicks):
    made = clicks.create_dataset("buying", REQUEST, statistics=False)
    clicks.drop("clicks")
    with pytest.raises(UnknownNameError, match="clicks"):
        clicks.recreate_dataset("buying")
    assert len(clicks.read_dataset("buying")) == made.rows["all"]


def test_what_made_a_dataset_is_known(clicks):
    made = clicks.create_dataset("buying", REQUEST, statistics=False)
    (source,) = made.sources
    assert (source.kind, source.full_name, source.commit) == (InputKind.GROUP, "clicks@1", 0)
    assert source.features == ("user", "clicks", "time", "bought")
    clicks.take_reads()
    clicks.read_dataset("buying")
    assert [each.full_name for each in clicks.take_reads()] == ["buying@1"]


def test_drift_since_a_dataset_was_made(clicks, day):
    clicks.create_dataset("buying", REQUEST, statistics=False)
    assert clicks.dataset_drift("buying").verdict.value == "stable"
    later = clicks.get("user", "at", "clicks", "time", "bought")
    later["time"] += 3
    clicks.save(later, "clicks", statistics=False)
    assert clicks.dataset_drift("buying").column("time").verdict.value == "drifted"


def test_versions_never_change_and_can_be_deleted(clicks):
    made = clicks.create_dataset("buying", REQUEST, statistics=False)
    with pytest.raises(ConflictError, match="buying@1 exists, and training datasets never change: the next version is 2"):
        clicks.create_dataset("buying@1", REQUEST)
    clicks.create_dataset("buying@2", REQUEST, statistics=False)
    assert [dataset.full_name for dataset in clicks.datasets()] == ["buying@2", "buying@1"]
    clicks.delete_dataset("buying@1")
    assert not Path(made.location).exists()
    assert clicks.dataset("buying").version == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": {"train": 0.8, "test": 0.3}}, "must sum to 1, got 1.1: train=0.8, test=0.3"),
        ({"split": {"train": 1.2, "test": -0.2}}, "the share of split train must be above 0 and at most 1, got 1.2"),
        ({"split": {"train": 0.9999, "test": 0.0001}}, "split test would have no rows"),
        ({"split": {"../x": 1.0}}, "a split is named with letters"),
        ({"label": "bougt"}, r"no column 'bougt' in the dataset \(--label\): did you mean bought"),
        ({"file_format": "xml"}, "--format must be one of parquet, csv, npy, tfrecord, got 'xml'"),
        ({"split_by_time": {"a": None, "b": None}}, "only the last split of --split-by-time may be without an end"),
        ({"split_by_time": {"a": None}}, "--split-by-time reads at, which is not among the features: ask for it too"),
        ({"split_by_time": {"a": None}, "time_column": "clicks"}, "must be a column of times, and clicks is not"),
    ],
)
def test_what_cannot_be_made_is_told_and_leaves_nothing(clicks, settings, options, message):
    with pytest.raises(FeatureError, match=message):
        clicks.create_dataset("buying", REQUEST, **options)
    assert clicks.datasets() == []


def test_a_split_that_is_not_there_is_told(clicks):
    clicks.create_dataset("buying", REQUEST, split={"train": 0.5, "test": 0.5}, statistics=False)
    with pytest.raises(FeatureError, match="buying@1 is split: say which of train, test"):
        clicks.read_dataset("buying")
    with pytest.raises(UnknownNameError, match="no split 'tset' in buying@1: did you mean test"):
        clicks.read_dataset("buying", "tset")
    with pytest.raises(UnknownNameError, match="no training dataset 'byuing': did you mean buying"):
        clicks.read_dataset("byuing")


def test_a_dataset_lives_on_s3_too(tmp_path, object_store, monkeypatch):
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{object_store.bucket}/{tmp_path.name}"
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(tmp_path), "HOPS_FEATURES": place}))
    store.save({"id": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, 4.0]}, "small", key="id", statistics=False)
    store.create_dataset("four", request_of("id", "x"), split={"a": 0.5, "b": 0.5})
    halves = [store.read_dataset("four", split)["x"].tolist() for split in "ab"]
    assert sorted(itertools.chain(*halves)) == [1.0, 2.0, 3.0, 4.0]
    assert store.read_dataset("four", "a", form="tf").num_rows == 2
    store.recreate_dataset("four")
    store.delete_dataset("four")
    assert store.datasets() == []
