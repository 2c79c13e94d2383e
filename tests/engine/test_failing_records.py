"""What a run loses when its record or its disk fails: the record, never its values; and what is said of it."""

import resource

import pytest
from waiting import in_a_loop

from hops_magic.engine.buffers import BufferStore
from hops_magic.engine.job import run_folder
from hops_magic.engine.journal import JOURNAL_NAME
from hops_magic.errors import ClusterError, OptionError, UsageError
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
