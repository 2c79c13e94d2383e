"""Opening, checking and refusing registries."""

import multiprocessing
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_runs import START, opened

from hops_magic.errors import RegistryError, UsageError
from hops_magic.registry import check_reachable_from, check_writable, open_registry
from hops_magic.registry.store import Store
from hops_magic.settings import Settings, redacted


def of(**environ):
    return Settings.from_environment({f"HOPS_{name.upper()}": str(value) for name, value in environ.items()})


def _open_and_record(home, number, barrier, answers):
    try:
        settings = of(home=home)
        barrier.wait(60)
        recorder = opened(settings, f"aaaa0000000{number}")
        answers.put(recorder.record_id and "ok")
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent must hear of it)
        answers.put(repr(error))


def test_four_processes_may_open_a_fresh_store_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    arguments = [(tmp_path / "home", number, barrier, answers) for number in range(4)]
    processes = [context.Process(target=_open_and_record, args=args) for args in arguments]
    for process in processes:
        process.start()
    assert [answers.get(timeout=90) for _ in processes] == ["ok"] * 4
    for process in processes:
        process.join(20)
    assert len(open_registry(of(home=tmp_path / "home")).runs()) == 4


def test_mlflow_is_loaded_at_first_use_only():
    script = (
        "import sys, hops_magic.registry, hops_magic.settings, hops_magic.experiments, hops_magic.models;"
        "hops_magic.registry.check_writable(hops_magic.settings.Settings.from_environment());"
        "print([m for m in ('mlflow', 'sqlalchemy', 'tensorflow', 'keras', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_writable_registry_passes_whether_it_exists_or_not(settings, tmp_path):
    check_writable(settings)
    check_writable(of(home=tmp_path / "new" / "home"))
    assert not (tmp_path / "new" / "home" / "registry.db").exists()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"home": "/proc/hops"}, "/proc/hops cannot be written .*set HOPS_HOME to another folder"),
        ({"tracking_uri": "sqlite:////proc/registry.db"}, "/proc cannot be written .*HOPS_TRACKING_URI"),
        ({"artifacts": "/proc/artifacts"}, "/proc/artifacts cannot be written .*HOPS_ARTIFACTS"),
        ({"tracking_uri": "postgresql://u:s3cret@127.0.0.1:{port}/d"}, "cannot be reached .*HOPS_TRACKING_URI"),
        ({"tracking_uri": "http://u:s3cret@127.0.0.1:{port}"}, "does not answer .*HOPS_TRACKING_URI"),
    ],
)
def test_a_registry_that_cannot_be_written_is_told_in_one_sentence(environ, sentence, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = of(**{"home": tmp_path, **{name: value.replace("{port}", str(port)) for name, value in environ.items()}})
    with pytest.raises(RegistryError, match=sentence) as caught:
        check_writable(settings)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_registry_is_told_in_one_sentence(settings):
    settings.database_file.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(RegistryError, match=r"registry\.db is damaged or no database .*move it away"):
        check_writable(settings)


def test_a_full_disk_is_told_before_anything_starts(settings, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(RegistryError, match=r"is full .*make room"):
        check_writable(settings)


def test_a_read_only_database_is_told(postgres, tmp_path):
    settings = of(home=tmp_path, tracking_uri=postgres.uri + "&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(RegistryError, match="is read-only"):
        check_writable(settings)
    check_writable(of(home=tmp_path, tracking_uri=postgres.uri))


def test_a_registry_being_written_by_somebody_counts_as_writable(settings):
    import sqlite3

    writer = sqlite3.connect(settings.database_file)
    writer.execute("begin immediate")
    check_writable(settings)
    writer.close()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "only this machine can: set HOPS_TRACKING_URI"),
        ({"tracking_uri": "http://localhost:5000"}, "only this machine can"),
        ({"tracking_uri": "postgresql://u:s3cret@db.example/d"}, "set HOPS_ARTIFACTS"),
    ],
)
def test_a_remote_cluster_with_a_registry_of_this_machine_is_refused(environ, sentence, tmp_path):
    settings = of(home=tmp_path, **environ)
    check_reachable_from(settings, cluster_is_local=True)
    with pytest.raises(RegistryError, match=sentence) as caught:
        check_reachable_from(settings, cluster_is_local=False)
    assert "s3cret" not in str(caught.value)


def test_a_remote_cluster_with_a_shared_registry_is_accepted(tmp_path):
    database = {"home": tmp_path, "tracking_uri": "postgresql://db.example/d"}
    check_reachable_from(of(**database, artifacts="s3://bucket/runs"), cluster_is_local=False)
    check_reachable_from(of(**database, artifacts="/shared/runs"), cluster_is_local=False)
    check_reachable_from(of(home=tmp_path, tracking_uri="https://mlflow.example"), cluster_is_local=False)


def test_settings_come_from_the_environment(tmp_path):
    default = Settings.from_environment({})
    assert default.home == Path("~/.hops").expanduser()
    assert default.database_file == default.home / "registry.db"
    assert default.artifacts_folder == default.home / "artifacts"
    chosen = Settings.from_environment({"HOPS_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "https://mlflow.example"})
    assert (chosen.tracking_uri, chosen.artifacts, chosen.database_file) == ("https://mlflow.example", "", None)
    spaces = of(home=tmp_path / "a b", artifacts=tmp_path / "c d%")
    assert spaces.artifacts_folder == tmp_path / "c d%"
    assert spaces.database_file == tmp_path / "a b" / "registry.db"


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "databricks", "ftp://u:s3cret@host/x"])
def test_a_place_that_cannot_hold_the_record_is_refused(uri, tmp_path):
    with pytest.raises(UsageError, match="HOPS_TRACKING_URI must be a database") as caught:
        of(home=tmp_path, tracking_uri=uri)
    assert "s3cret" not in str(caught.value)


def test_secrets_are_never_shown():
    uri = "postgresql://ada:s3cret@db/x?sslpassword=s3cret&sslmode=require&token=s3cret"
    assert redacted(uri) == "postgresql://***@db/x?sslpassword=***&sslmode=require&token=***"
    settings = Settings.from_environment({"HOPS_TRACKING_URI": uri, "MLFLOW_TRACKING_PASSWORD": "s3cret"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.shown_tracking_uri
    assert settings.credentials == {"MLFLOW_TRACKING_PASSWORD": "s3cret"}


def test_what_sqlite_learns_of_its_tables_reaches_open_connections(settings):
    """Without it, a list sorted by a metric takes seconds at some thousand runs."""
    reader = Store(settings)
    assert not reader.freshen()
    opened(settings, "aaaa00000001").finish(run_of("aaaa00000001"))
    assert reader.freshen()
    assert not reader.freshen()


def run_of(run_id):
    from hops_magic.runs.run import Run
    from hops_magic.runs.states import RunState

    return Run(run_id=run_id, name=run_id, state=RunState.DONE, created_at=START)


def test_a_store_whose_making_was_killed_is_made_anew(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / ".registry.db.draft").write_bytes(b"half of one")
    assert open_registry(Settings.from_environment({"HOPS_HOME": str(home)})).runs() == []
    assert not (home / ".registry.db.draft").exists()
