"""What a full disk keeps from a record is in it when there is room; until then the record has no end, and can be read."""

import contextlib
import resource
import shutil
import sqlite3
from dataclasses import replace

import pytest
from recorded_runs import START, epochs, finished, opened
from waiting import wait_until

from hops_magic.engine.journal import Journal
from hops_magic.errors import RegistryError
from hops_magic.registry import layout, open_registry
from hops_magic.registry import recorder as recorder_module
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState
from hops_magic.settings import Settings

RUN = "aaaa00000001"
SAID = [ev.Output(rank=0, stream="stdout", text=f"line {number}\r\n") for number in range(3)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(recorder_module, "DRAIN_WITHIN_S", 0.0)


def log(settings, events):
    journal = Journal(settings.runs / RUN)
    journal.write([ev.to_wire(event) for event in events])
    journal.close()


def test_output_that_no_file_took_comes_from_the_log(settings, registry):
    recorder = opened(settings, RUN)
    in_the_way = settings.runs / RUN / "output"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")  # nothing can be written there
    recorder.events([*SAID[:2], *epochs(0.5)])
    wait_until(lambda: registry.metrics(RUN, ["loss"])["loss"], "what was said with the output")
    in_the_way.unlink()
    log(settings, [*SAID, *epochs(0.5)])
    finished(recorder, RUN, SAID[2:])
    with registry.artifact(registry.run(RUN), layout.output_file(0)) as path:
        assert path.read_bytes().decode() == "".join(event.text for event in SAID)


def test_a_record_whose_files_found_no_room_has_no_end_until_they_did(settings, registry):
    recorder = opened(settings, RUN)
    files = settings.artifacts_folder
    moved = files.rename(files.with_name("moved"))
    files.write_text("")  # nothing can be written there
    log(settings, [*SAID, *epochs(0.5)])
    with pytest.raises(RegistryError):
        finished(recorder, RUN, [*SAID, *epochs(0.5)])
    assert registry.run(RUN).state is not RunState.DONE
    files.unlink()
    moved.rename(files)
    run = finished_again(recorder)
    info = registry.run(RUN)
    assert (info.state, info.ended_at) == (RunState.DONE, run.ended_at)
    assert registry.output(info).splitlines() == ["line 0", "line 1", "line 2"]
    shutil.rmtree(settings.runs / RUN)
    assert [event.kind for event in registry.journal(info)] == ["output"] * 3 + ["metrics"]


def finished_again(recorder):
    states = [ev.StateChanged(at=START, state=RunState.RUNNING), ev.StateChanged(at=START + 61, state=RunState.DONE)]
    run = advance_all(Run(run_id=RUN, name=RUN, created_at=START), states)
    recorder.finish(run)
    return run


def test_a_registry_on_a_full_disk_is_read_by_whoever_comes(settings, recorded, tmp_path):
    recorded(RUN, epochs(0.5, 0.25))
    with contextlib.closing(sqlite3.connect(settings.database_file)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    copy = shutil.copy(settings.database_file, tmp_path / "copy.db")  # which nobody has open
    settings = replace(settings, tracking_uri=f"sqlite:///{copy}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        fresh = open_registry(settings)
        assert [(info.run_id, info.state) for info in fresh.runs()] == [(RUN, RunState.DONE)]
        assert [value for _, value, _ in fresh.metrics(RUN)["loss"]] == [0.5, 0.25]
        with pytest.raises(RegistryError, match="it can only be read: its disk is full"):
            fresh.note(RUN, "remember")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    fresh.note(RUN, "remember")
    assert open_registry(settings).run(RUN).tags["mlflow.note.content"] == "remember"


def test_a_registry_that_could_not_be_made_is_made_when_there_is_room(tmp_path):
    settings = Settings.from_environment({"HOPS_HOME": str(tmp_path / "home")})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(RegistryError, match="opening failed in the registry"):
            open_registry(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert open_registry(settings).runs() == []
    assert sorted(file.name for file in settings.home.iterdir() if "draft" in file.name) == []


def test_a_record_that_was_begun_in_half_is_not_called_failed_and_is_begun_again(settings, registry):
    files = settings.artifacts_folder
    shutil.rmtree(files, ignore_errors=True)
    files.write_text("")  # nothing can be written there
    with pytest.raises(RegistryError, match="recording the source and options"):
        opened(settings, RUN)
    assert registry.run(RUN).state is RunState.SUBMITTED
    files.unlink()
    finished(opened(settings, RUN), RUN, epochs(0.5))
    info = registry.run(RUN)
    assert (info.state, registry.source(info)) == (RunState.DONE, "model.fit(x, y)\n")
    assert registry.environment(info)["packages"]


def test_a_run_that_says_it_is_done_has_no_end_before_all_is_written(settings, registry):
    recorder = opened(settings, RUN)
    recorder.events([*epochs(0.5), ev.StateChanged(at=START + 61, state=RunState.DONE)])
    wait_until(lambda: registry.metrics(RUN, ["loss"])["loss"], "what was said before")
    wait_until(lambda: layout.TAG_CURVE in registry.run(RUN).tags, "its summary")
    assert [info.run_id for info in registry.unfinished()] == [RUN]
    assert registry.run(RUN).state is RunState.SUBMITTED
    finished_again(recorder)
    assert registry.run(RUN).state is RunState.DONE
