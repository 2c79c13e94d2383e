"""No process of the cluster finds room on any disk, from some moment of a run or a study on: nothing is lost."""

import contextlib
import os
import resource

import psutil
import pytest
from waiting import wait_until

from hops_magic.errors import NotFoundError
from hops_magic.runs.states import RunState
from hops_magic.tuning.space import grid

pytestmark = pytest.mark.usefixtures("nothing_is_left")

STEPS = """
import pathlib, time
import hops_magic as hops
for step in range(1, 7):
    while step > 3 and not pathlib.Path(gate).exists():
        time.sleep(0.02)
    hops.report(step=step, score=x / step)
    print('step', step)
answer = 42
"""
PRINTED = "".join(f"step {step}\n" for step in range(1, 7))
ROOM_WITHIN_S = 180


@pytest.fixture
def cluster_without_room(session):
    """Let no process of the cluster make a file longer, as on a full disk, inside the context."""

    def limit(bytes_):
        for pid in session.clusters.current().client.run(os.getpid).values():
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.rlimit(psutil.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))

    @contextlib.contextmanager
    def cluster_without_room():
        limit(0)
        try:
            yield
        finally:
            limit(resource.RLIM_INFINITY)

    return cluster_without_room


def recorded(session, run_id):
    """The record, as somebody finds it who lists the runs; None while there is none, or it is not whole."""
    session.reconcile()
    with contextlib.suppress(NotFoundError):
        info = session.registry.run(run_id)
        if info.state.is_final and not info.incomplete:
            return info
    return None


def is_told_of(session, run_id):
    """The list can be read, and calls no record whole that is not."""
    session.reconcile()
    for info in session.registry.runs():
        if info.run_id == run_id:
            assert info.state in (RunState.SUBMITTED, RunState.RUNNING) or info.incomplete


@pytest.mark.parametrize("moment", ["before it begins", "while it reports"])
def test_a_run_loses_nothing(moment, session, cluster_without_room, tmp_path):
    gate = tmp_path / "gate"
    names = {"x": 6.0, "gate": str(gate)}
    with contextlib.ExitStack() as full:
        if moment == "before it begins":
            full.enter_context(cluster_without_room())
        handle = session.train(STEPS, namespace=names, show=False, workers=1, framework="none", detach=True)
        for run in handle.follower.updates():
            if any(curve.count == 3 for curve in run.curves.values()):
                break
        if moment == "while it reports":
            full.enter_context(cluster_without_room())
        gate.touch()
        trained = session.watch(handle, names, show=False)
        assert (trained.run.state, names["answer"]) == (RunState.DONE, 42)
        is_told_of(session, handle.run_id)
    info = wait_until(lambda: recorded(session, handle.run_id), "the whole record", ROOM_WITHIN_S)
    assert info.state is RunState.DONE
    course = [(step, 6.0 / step) for step in range(1, 7)]
    assert [(step, value) for step, value, _ in session.registry.metrics(info)["score"]] == course
    assert session.registry.output(info) == PRINTED
    said = list(session.registry.journal(info))
    assert [event.values["score"] for event in said if event.kind == "metrics"] == [value for _, value in course]
    assert [event.state for event in said if event.kind == "state"][-1] is RunState.DONE


@pytest.mark.parametrize("moment", ["before it begins", "while trials run"])
def test_a_study_loses_nothing(moment, session, begin, cluster_without_room, tmp_path):
    gate = tmp_path / "gate"
    space = {"x": grid([6.0, 12.0, 18.0])}
    with contextlib.ExitStack() as full:
        if moment == "before it begins":
            full.enter_context(cluster_without_room())
        handle = begin(
            STEPS,
            space,
            {"gate": str(gate)},
            maximize="score",
            minimize=None,
            search="grid",
            stop="none",
            trials=3,
            parallel=2,
        )
        for study in handle.follower.updates():
            if sum(trial.curve.count == 3 for trial in study.trials.values()) == 2:
                break
        if moment == "while trials run":
            full.enter_context(cluster_without_room())
        gate.touch()
        study = session.watch_study(handle, {}, show=False)
        assert (study.state, study.best_value, study.best) == (RunState.DONE, 3.0, {"x": 18.0})
        is_told_of(session, handle.run_id)
    info = wait_until(lambda: recorded(session, handle.run_id), "the whole record", ROOM_WITHIN_S)
    assert (info.state, info.metrics["best/score"]) == (RunState.DONE, 3.0)
    children = {child.params["x"]: child for child in session.registry.children(info)}
    assert {x: child.state for x, child in children.items()} == dict.fromkeys(["6.0", "12.0", "18.0"], RunState.DONE)
    for x, child in children.items():
        course = [(step, float(x) / step) for step in range(1, 7)]
        assert [(step, value) for step, value, _ in session.registry.metrics(child)["score"]] == course
        assert session.registry.output(child) == PRINTED
