"""``hops`` from a script: what the magics do, done by calls."""

import pytest

import hops_magic as hops
from hops_magic.errors import CaptureError, ClusterError, NotFoundError, OptionError, RunFailedError, UsageError
from hops_magic.options import options_from
from hops_magic.runs.options import DistributedOptions
from hops_magic.runs.states import RunState
from hops_magic.session import session

PLAIN = {"framework": "none", "show": False}


@pytest.fixture
def api(home, dask_cluster):
    """This process's session, on the tests' cluster."""
    session.cache_clear()
    hops.cluster.use(dask_cluster)
    yield
    hops.cluster.stop()
    session.cache_clear()


@pytest.fixture
def no_cluster(tmp_path, monkeypatch):
    """This process's session in a home without a cluster; nothing may start one."""
    monkeypatch.setenv("HOPS_HOME", str(tmp_path))
    session.cache_clear()
    monkeypatch.setattr(session().clusters, "current", _no_cluster)
    yield
    session.cache_clear()


def _no_cluster(*, start=True):
    raise AssertionError("a cluster was asked for")


def answer():
    return 40 + hops.world_size


def reads_nothing_that_exists():
    return _helper()


def _helper():
    return no_such_name + 1  # noqa: F821 (is the test)


def fails():
    raise ValueError("my message")


def test_a_function_is_trained_and_its_value_is_there(api):
    trained = hops.train(answer, workers=2, **PLAIN)
    assert (trained.value, trained.run.state, trained.run.warnings) == (42, RunState.DONE, ())
    assert hops.live_runs()[0].run_id == trained.run.run_id


def test_a_detached_run_is_watched_and_its_values_are_attached(api):
    handle = hops.train(answer, workers=1, detach=True, name="detached", **PLAIN)
    assert hops.watch(handle.run_id, show=False).state is RunState.DONE
    assert "detached" in [run.name for run in hops.attach()]
    assert hops.attach(handle.run_id, show=False).value == 41


def test_values_that_wait_outlive_the_cluster(api, capsys, monkeypatch):
    monkeypatch.setenv("HOPS_VIEW", "stream")
    namespace = {}
    handle = hops.train("import numpy as np\nbig = np.arange(1_000_000)", workers=1, detach=True, name="late", **PLAIN)
    failing = hops.train(fails, workers=1, detach=True, name="broken", **PLAIN)
    for one in (handle, failing):
        hops.watch(one.run_id, show=False)
    hops.cluster.stop()  # as when it ends by itself
    with pytest.raises(NotFoundError):
        hops.live_runs()
    waiting = [run for run in hops.attach() if run.name == "late"]
    assert [(run.run_id, run.state, run.has_values) for run in waiting] == [(handle.run_id, RunState.DONE, True)]
    trained = hops.attach("late", namespace=namespace)
    assert (trained.run.state, int(namespace["big"][-1])) == (RunState.DONE, 999_999)
    assert "late" in capsys.readouterr().out
    with pytest.raises(ClusterError, match=r"values of run late .* brought back before, or lie where its rank 0 ran"):
        hops.attach("late", show=False)
    with pytest.raises(RunFailedError, match="my message"):
        hops.attach("broken", show=False)
    with pytest.raises(NotFoundError):
        hops.attach("never-there", show=False)


def test_the_values_of_a_study_outlive_the_cluster_too(api):
    options = {"minimize": "loss", "search": "grid", "trials": 2, "keep_model": True, "detach": True, "name": "kept"}
    handle = hops.tune("weight = x * 10\n{'loss': x}", {"x": hops.grid([2, 1])}, **options, **PLAIN)
    hops.watch(handle.run_id, show=False)
    hops.cluster.stop()
    namespace = {}
    study = hops.attach("kept", namespace=namespace, show=False)
    assert (study.state, study.best, namespace["weight"]) == (RunState.DONE, {"x": 1}, 10)
    trial = hops.experiments.trials("kept")[0]
    with pytest.raises(UsageError, match=f"is a trial of study {handle.run_id}"):
        hops.attach(trial.run_id, show=False)


def test_the_cluster_in_use_is_asked_and_left(api, dask_cluster):
    assert hops.cluster.status().slots == 4
    assert hops.cluster.current().owner is dask_cluster
    assert hops.cluster.stop()
    with pytest.raises(NotFoundError, match="no cluster is running"):
        hops.cluster.status()
    with pytest.raises(ClusterError, match="neither an address"):
        hops.cluster.connect("nowhere")


def test_a_dry_run_reports_and_starts_nothing(no_cluster):
    reports = [
        hops.train(answer, dry_run=True),
        hops.tune(lambda x: x, {"x": hops.uniform(0, 1)}, minimize="loss", dry_run=True),
        hops.ablate(lambda bias: 1.0, flags=["bias"], maximize="score", dry_run=True),
    ]
    assert all("program" in [row.name for row in report.rows] for report in reports)
    # not even the home of a record is made
    assert not list(session().settings.home.iterdir())


def test_a_function_that_cannot_run_is_refused_before_anything_starts(no_cluster):
    with pytest.raises(CaptureError, match=r"name 'no_such_name' is not defined in .*, but _helper reads it"):
        hops.train(reads_nothing_that_exists, **PLAIN)
    with pytest.raises(OptionError, match=r"program must take no arguments, got <lambda> with x: give it a default"):
        hops.train(lambda x: x, **PLAIN)
    with pytest.raises(OptionError, match="detatch is no option of this call, got True: did you mean detach"):
        hops.train(answer, detatch=True)


def test_a_view_that_does_not_exist_is_refused_before_a_run_starts_that_nobody_sees(no_cluster, monkeypatch):
    monkeypatch.setenv("HOPS_VIEW", "browser")
    with pytest.raises(OptionError, match="HOPS_VIEW must be one of"):
        hops.train(answer, workers=1)


@pytest.mark.parametrize("options", [{"batch": "per-rank"}, {"checkpoint_s": 5.0}, {"strategy": "collective"}])
def test_options_that_would_do_nothing_are_refused(no_cluster, options):
    (name,) = options
    with pytest.raises(OptionError, match=f"--{name.replace('_', '-')} does nothing where the body is plain Python"):
        hops.train(answer, **options)


def test_one_text_stands_for_several_names_as_on_a_line():
    assert options_from(DistributedOptions, {"out": "history, score"}).out == ("history", "score")
    assert options_from(DistributedOptions, {"out": ["history"], "name": "a,b"}).name == "a,b"
