"""What a run loses when its record or its disk fails: the record, never its values; and what is said of it."""

import resource
from pathlib import Path

import pytest
from waiting import in_a_loop, wait_until

from hops_magic.engine.buffers import BufferStore
from hops_magic.engine.job import run_folder
from hops_magic.engine.journal import JOURNAL_NAME, Journal, read_journal
from hops_magic.engine.submit import live_runs
from hops_magic.errors import ClusterError, OptionError, UsageError
from hops_magic.runs.events import Metrics, to_wire
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.states import RunState
from hops_magic.training import collect, follow


def ends_well(handle):
    namespace = {}
    trained = collect(handle, namespace, follow(handle))
    assert namespace["answer"] == 42
    assert trained.run.state is RunState.DONE
    return trained.run.warnings


def test_a_record_that_cannot_be_opened_costs_no_values(launch):
    def opener(folder):
        raise LookupError("no bucket of that name.\nMany lines of help")

    warnings = ends_well(launch("answer = 42", workers=1, recorder=opener))
    assert warnings == ("the run is not recorded: LookupError: no bucket of that name",)


def test_a_record_that_cannot_be_finished_costs_no_values(launch):
    class Recorder:
        def events(self, events):
            pass

        def finish(self, run):
            raise LookupError("the bucket is gone")

    warnings = ends_well(launch("answer = 42", workers=1, recorder=lambda folder: Recorder()))
    assert warnings == ("the record of the run is not complete: LookupError: the bucket is gone",)


def test_a_full_disk_ends_the_log_and_not_the_run(launch, home):
    def full(run_id):
        folder = run_folder(run_id)
        folder.mkdir(parents=True)
        (folder / JOURNAL_NAME).symlink_to("/dev/full")

    warnings = ends_well(launch("answer = 42", workers=1, before=full))
    assert warnings == ("the log of the run is not complete: No space left on device",)


def test_a_log_goes_on_in_the_middle_of_a_line_when_there_is_room_again(tmp_path):
    told = [Metrics(rank=0, step=step, scope="user", values={"loss": 0.5}) for step in range(100)]
    journal = Journal(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        problems = [journal.write([to_wire(event)]) for event in told[:50]]
        assert [problem for problem in problems if problem] == ["File too large"]  # said once
        assert journal.is_behind
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.write([to_wire(event) for event in told[50:]]) == ""
    assert not journal.is_behind
    journal.close()
    assert list(read_journal(tmp_path)) == told


def test_a_log_has_whole_lines_alone_while_its_disk_is_full_and_when_it_was_closed_meanwhile(tmp_path):
    told = [Metrics(rank=0, step=step, scope="user", values={"loss": 0.5}) for step in range(100)]
    journal = Journal(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        journal.write([to_wire(event) for event in told])
        lines = (tmp_path / JOURNAL_NAME).read_text()
        assert lines.endswith("}\n")
        assert list(read_journal(tmp_path)) == told[: lines.count("\n")]
        journal.close()
        assert journal.is_behind
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.close()  # as whoever looks after it does now and then
    assert not journal.is_behind
    assert list(read_journal(tmp_path)) == told
    assert (tmp_path / JOURNAL_NAME).read_text().count("\n") == 100


class OpensLate:
    """A record that cannot be opened the first time; it is told then what was said before."""

    told = ()

    def __call__(self, folder):
        if not (folder / "tried").exists():
            (folder / "tried").touch()
            raise LookupError("no room")
        return self

    def recall(self, events):
        self.told = events

    def events(self, events):
        self.told = [*self.told, *events]

    def finish(self, run):
        states = [event.state.value for event in self.told if event.kind == "state"]
        values = [event.values["loss"] for event in self.told if event.kind == "metrics"]
        (run_folder(run.run_id) / "late").write_text(repr((states[-1], values, run.warnings)))


def test_a_record_that_could_not_be_opened_is_made_when_it_can_be(launch):
    source = "import hops_magic as hops\nfor step in range(3): hops.report(step=step, loss=0.5)\nanswer = 42"
    handle = launch(source, workers=1, recorder=OpensLate())
    assert ends_well(handle) == ("the run is not recorded: LookupError: no room",)
    late = run_folder(handle.run_id) / "late"
    wait_until(lambda: late.exists() and late.read_text(), "the late record", 120)
    assert late.read_text() == "('done', [0.5, 0.5, 0.5], ())"


class FailsOnce:
    """A record whose end cannot be written the first time."""

    tries = 0

    def events(self, events):
        pass

    def finish(self, run):
        self.tries += 1
        if self.tries == 1:
            raise LookupError("no room")
        (run_folder(run.run_id) / "late").write_text(repr(run.warnings))


def test_a_record_that_could_not_be_finished_is_finished_later(launch):
    handle = launch("answer = 42", workers=1, recorder=lambda folder: FailsOnce())
    follow(handle)

    def recorded():
        (known,) = (run for run in live_runs(handle.client) if run.run_id == handle.run_id)
        return known.is_recorded

    assert not recorded()  # so nobody else takes it for lost
    assert ends_well(handle) == ("the record of the run is not complete: LookupError: no room",)
    wait_until(recorded, "the record's end")
    assert (run_folder(handle.run_id) / "late").read_text() == "()"  # nothing is missing any more


# no process may write files any more, as if all disks were full
FULL = """
import resource
from pathlib import Path
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
answer = 42
"""


def test_values_for_which_no_disk_has_room_come_through_memory(launch):
    handle = launch(FULL, workers=1)
    run = follow(handle)
    assert run.result.place.startswith("memory:")
    assert handle.result().path == run.result.place
    assert ends_well(handle) == ()
    with pytest.raises(ClusterError, match="have been fetched before"):
        collect(handle, {}, run)


# nothing can be written to the run's folder any more
MOVED = """
import os, pathlib
folder = pathlib.Path(os.environ['HOPS_HOME'], 'runs', os.environ['HOPS_RUN_ID'])
folder.rename(f'{folder}-moved')
folder.write_text('')
answer = 42
"""


def test_the_next_best_place_is_the_disk_where_workers_keep_data(launch):
    handle = launch(MOVED, workers=1)
    run = follow(handle)
    assert run.result.place.endswith(f"kept-{run.run_id}.parcel")
    assert ends_well(handle) == ()
    assert not Path(run.result.place).exists()


def test_what_a_killed_rank_left_half_written_goes_with_the_end_of_its_run(launch):
    def killed_before(run_id):
        folder = run_folder(run_id)
        (folder / "model").mkdir(parents=True)
        (folder / "result.parcel.0badcafe").write_bytes(b"half of the values")
        (folder / "model" / "draft-model.keras").write_bytes(b"half of a model")

    handle = launch("answer = 42", workers=1, before=killed_before)
    ends_well(handle)
    left = sorted(file.name for file in run_folder(handle.run_id).rglob("*") if file.is_file())
    assert left == [JOURNAL_NAME]


WAITING = (
    FULL
    + """
import pathlib, threading
large = bytes(70 << 20)
def make_room():
    while not pathlib.Path(sign).exists(): pass
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    pathlib.Path(ballast).unlink()
threading.Thread(target=make_room, daemon=True).start()
"""
)


def test_values_that_fit_nowhere_wait_for_room(launch, tmp_path, home):
    ballast = home / "ballast"
    ballast.write_bytes(bytes(64 << 20))
    handle = launch(WAITING, {"sign": str(tmp_path / "sign"), "ballast": str(ballast)}, workers=1)
    for run in handle.follower.updates():
        if run.warnings:
            break
    assert "cannot be written to" in run.warnings[0]
    assert "they wait until there is room, or the run is stopped" in run.warnings[0]
    (tmp_path / "sign").touch()
    namespace = {}
    collect(handle, namespace, follow(handle))
    assert len(namespace["large"]) == 70 << 20
    assert namespace["answer"] == 42


@pytest.mark.parametrize("name", ["a/b", "", "x" * 201, "-n"])
def test_a_models_name_is_checked_before_anything_starts(name):
    with pytest.raises(OptionError, match="--register must be of letters"):
        DistributedOptions(register=name)
    assert issubclass(OptionError, UsageError)


@pytest.fixture
def small_files():
    """No file may grow beyond a page, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_data_that_does_not_fit_on_a_node_is_said_in_a_sentence(tmp_path, small_files):
    async def fetch(source, run_id, digest, offset, length):
        return bytes(10_000)

    store = BufferStore(tmp_path / "node", fetch)
    with pytest.raises(ClusterError, match=r"data cannot be brought to .*node: File too large"):
        in_a_loop(store.provide("run", {"digest": 10_000}, "tcp://w"))
    with pytest.raises(ClusterError, match=r"data cannot be brought to .*node: File too large"):
        store.store_part("run", "digest", 0, bytes(10_000))
    assert [file.name for file in store.folder("run").iterdir()] == ["digest"]  # dropped with its run
