"""A kernel that is shut down, restarted or given up ends no run; an interrupt does. Kernels are ended as Jupyter does it."""

import re

import nbformat
import pytest
from kernels import DEADLINE_S, Kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from waiting import wait_until
from waiting_cells import CELLS, LOAD

SLOW_SUBMIT = """
import pathlib, time
from hops_magic.engine import submit
begin = submit._begin
def slow_begin(*args):
    pathlib.Path("{name}-submitting").touch()
    while not get_ipython().exit_now: time.sleep(0.02)
    begin(*args)
submit._begin = slow_begin
"""


@pytest.fixture
def another(env, places):
    """A kernel of the test's own, on the cluster of all."""
    other = Kernel(env, places["work"])
    assert not other.run(LOAD).error
    yield other
    other.close()


@pytest.fixture
def wait_for_file(places):
    return lambda name: wait_until((places["work"] / name).exists, name, deadline_s=DEADLINE_S)


def begin(kernel, other, kind, name, wait_for_file):
    """Have another kernel follow a run of its own, or, attached, one that the first has submitted."""
    if kind == "attach":
        detached = kernel.run(CELLS["distributed"].format(name=name).replace("--name", "--detach --name"))
        assert not detached.error, detached.error
        wait_for_file(f"{name}-began")
    message = other.send(CELLS[kind].format(name=name))
    if kind == "attach":
        other.result(message, until=lambda executed: executed.all.strip())
    else:
        wait_for_file(f"{name}-began")
    return message


def goes_on_and_comes_back(kernel, places, kind, name):
    assert states(kernel, name) == "['running']"
    (places["work"] / f"{name}-may-end").touch()
    attached = kernel.run(f"%attach {name}")
    assert not attached.error, attached.error
    if kind == "tune":
        assert kernel.ask("(study.state.value, len(study.trials), list(best))") == "('done', 2, ['x'])"
    else:
        assert kernel.ask("answer") == repr(name)


def states(kernel, name):
    return kernel.ask(f"[run.state.value for run in hops.live_runs() if run.name == {name!r}]")


ENDS = {
    "shut-down": lambda manager: manager.shutdown_kernel(),
    "restarted": lambda manager: manager.restart_kernel(),
    "killed": lambda manager: manager.restart_kernel(now=True),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_kernel_ends_no_run(kernel, another, places, wait_for_file, end, kind):
    name = f"{end}-{kind}"
    begin(kernel, another, kind, name, wait_for_file)
    ENDS[end](another.manager)
    goes_on_and_comes_back(kernel, places, kind, name)


@pytest.mark.parametrize("kind", ["distributed", "tune"])
def test_a_notebook_that_is_given_up_for_its_time_ends_no_run(kernel, env, places, wait_for_file, kind):
    name = f"timed-out-{kind}"
    cells = [nbformat.v4.new_code_cell(source) for source in (LOAD, CELLS[kind].format(name=name))]

    def timeout_s(cell):
        # asked once the cell is on its way
        if cell.source == LOAD:
            return DEADLINE_S
        wait_for_file(f"{name}-began")
        return 1

    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout_func=timeout_s, resources={"metadata": {"path": str(places["work"])}})
    with pytest.raises(CellTimeoutError):
        client.execute(env=env)
    goes_on_and_comes_back(kernel, places, kind, name)


def test_an_interrupt_of_a_kernel_that_attached_ends_the_run(kernel, another, wait_for_file):
    message = begin(kernel, another, "attach", "attached", wait_for_file)
    another.manager.interrupt_kernel()
    assert "interrupted" in another.result(message).error
    assert states(kernel, "attached") == "['stopped']"


@pytest.mark.parametrize("kind", ["distributed", "tune"])
def test_a_run_that_is_on_its_way_when_its_kernel_is_shut_down_begins(kernel, another, places, wait_for_file, kind):
    name = f"submitted-{kind}"
    another.run(SLOW_SUBMIT.format(name=name))
    another.send(CELLS[kind].format(name=name))
    wait_for_file(f"{name}-submitting")
    another.manager.shutdown_kernel()
    wait_for_file(f"{name}-began")
    goes_on_and_comes_back(kernel, places, kind, name)


def test_an_interrupt_before_a_run_has_begun_is_told_and_leaves_nothing(kernel, another, wait_for_file):
    another.run(SLOW_SUBMIT.format(name="early"))
    message = another.send(CELLS["distributed"].format(name="early"))
    wait_for_file("early-submitting")
    another.manager.interrupt_kernel()
    told = another.result(message).error
    assert re.search("early was interrupted before it began: nothing of it runs", told)
    assert "Traceback" not in told
    assert states(kernel, "early") in ("[]", "['stopped']")


def test_an_interrupt_while_a_view_opens_ends_the_run(kernel, another, wait_for_file):
    another.run("""
import pathlib, time
from hops_magic import session, showing
def run_view(*_):
    pathlib.Path("unseen-opening").touch()
    while True: time.sleep(0.02)
session.run_view = run_view
""")
    message = another.send(CELLS["distributed"].format(name="unseen"))
    wait_for_file("unseen-opening")
    another.manager.interrupt_kernel()
    assert "interrupted" in another.result(message).error
    assert states(kernel, "unseen") == "['stopped']"
