"""The output of a cell is its run: after a reload, in another page, when kernel or server are restarted."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from browsing import RUN_ALL, SAVE, Jupyter, running_jupyter, shoot, visit, wait_until, write_notebook
from nbformat.reader import NotJSONError
from playwright.sync_api import BrowserContext, Locator, Page, expect

RUN_TYPE = "application/vnd.hops.run.v1+json"
TRAIN = """%%distributed -n 1 --framework none --name lasting
import pathlib
import time

import hops_magic as hops

step = 0
while not pathlib.Path(folder, "end").exists():
    step += 1
    hops.report(step=step, loss=1 / step)
    time.sleep(0.02)
answer = 42"""
TUNE = """%%tune -n 500 --minimize loss --name searching -p 1 x=uniform(0, 1)
import time

import hops_magic as hops

for step in range(1, 4):
    hops.report(step=step, loss=(x - 0.3) ** 2 + 1 / step)
    time.sleep(0.1)"""

pytestmark = pytest.mark.timeout(600)


def begun(page: Page, jupyter: Jupyter, folder: Path, name: str, cell: str = TRAIN, more: tuple[str, ...] = ()) -> Locator:
    """Open a notebook and run it; return the view of its run once that is live."""
    write_notebook(jupyter, name, [f"%load_ext hops_magic\nfolder = {str(folder)!r}", cell, *more])
    visit(page, jupyter, name)
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel")
    page.evaluate(RUN_ALL)
    return live(page, ".hops-facts" if cell is TUNE else ".hops-legend")


def live(page: Page, moving: str = ".hops-legend") -> Locator:
    """The view of a run that has been seen to go on."""
    view = page.locator(".hops-run")
    expect(view.get_by_role("status").first).to_have_text("running", timeout=120_000)
    values = view.locator(moving).first
    expect(values).not_to_be_empty(timeout=30_000)
    expect(values).not_to_have_text(values.inner_text(), timeout=30_000)
    return view


def saved(jupyter: Jupyter, name: str) -> dict[str, str]:
    """The forms of the run's output in the file."""
    try:
        outputs = nbformat.read(jupyter.root / name, as_version=4).cells[1].outputs
    except NotJSONError:
        # it is being written
        return {}
    return next((output["data"] for output in outputs if "data" in output), {})


def run_of(jupyter: Jupyter, name: str) -> str:
    return str(saved(jupyter, name)[RUN_TYPE]["run_id"])


def is_dead(pid: int) -> bool:
    # the test's own child: it stays a zombie until it is waited for
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_reloaded_page_shows_the_run_live_and_stops_it(page: Page, jupyter: Jupyter, tmp_path: Path) -> None:
    name = "reloaded.ipynb"
    begun(page, jupyter, tmp_path, name)
    # nobody has saved it: the extension has, when the run began
    wait_until(lambda: RUN_TYPE in saved(jupyter, name), deadline_s=20, what="a saved notebook")
    kept = saved(jupyter, name)
    assert "lasting" in kept["text/html"]
    assert "lasting" in kept["text/plain"]
    visit(page, jupyter, name)
    view = page.locator(".hops-run")
    expect(view.get_by_role("status").first).to_have_text("running")
    live(page)
    expect(page.get_by_text("Loading widget")).to_have_count(0)
    # the kernel goes on drawing pages, which the Lab itself would drop
    first = run_number(page)
    wait_until(lambda: run_number(page) > first, deadline_s=60, what="a newer page in the notebook")
    shoot(page, "output-reloaded")
    view.get_by_role("button", name="Stop").click()
    expect(view).to_have_count(0, timeout=60_000)
    expect(page.get_by_text("stopped by the user").first).to_be_visible()
    page.evaluate(SAVE)
    assert set(saved(jupyter, name)) == {"text/html", "text/plain"}
    assert "stopped" in saved(jupyter, name)["text/plain"]


def run_number(page: Page) -> int:
    """Which of the kernel's pages the notebook holds."""
    return int(
        page.evaluate(
            f"""() => {{
              const {{ model }} = window.jupyterapp.shell.currentWidget.content;
              const outputs = [...model.cells].flatMap(cell => cell.type === 'code' ? cell.outputs.toJSON() : []);
              return outputs.map(each => each.data?.['{RUN_TYPE}']?.number).find(each => each !== undefined) ?? -1;
            }}"""
        )
    )


def test_a_restarted_kernel_leaves_the_view_live_and_attaching_brings_the_values(
    page: Page, jupyter: Jupyter, tmp_path: Path
) -> None:
    name = "restarted.ipynb"
    begun(page, jupyter, tmp_path, name, more=("",))
    wait_until(lambda: RUN_TYPE in saved(jupyter, name), deadline_s=20, what="a saved notebook")
    run_id = run_of(jupyter, name)
    page.get_by_role("button", name="Restart the kernel", exact=True).click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).not_to_have_text("[*]:", timeout=60_000)
    view = live(page)
    expect(view.get_by_role("button", name="Stop")).to_be_enabled()
    shoot(page, "output-restarted")
    attach = f"%load_ext hops_magic\n%attach {run_id}\nprint('the answer is', answer)"
    page.evaluate(
        """source => {
          const { content } = window.jupyterapp.shell.currentWidget;
          content.activeCellIndex = 2;
          content.activeCell.model.sharedModel.setSource(source);
          void window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        attach,
    )
    expect(page.locator(".hops-run")).to_have_count(2, timeout=60_000)
    (tmp_path / "end").touch()
    expect(page.get_by_text("the answer is 42")).to_be_visible(timeout=60_000)
    # the output of the kernel that is gone gets its last page too
    expect(page.locator(".hops-run")).to_have_count(0, timeout=60_000)
    page.evaluate(SAVE)
    assert "done" in saved(jupyter, name)["text/plain"]
    assert RUN_TYPE not in saved(jupyter, name)


def test_a_run_that_ended_while_no_page_was_open_is_told_by_the_next(page: Page, jupyter: Jupyter, tmp_path: Path) -> None:
    name = "closed.ipynb"
    begun(page, jupyter, tmp_path, name)
    wait_until(lambda: RUN_TYPE in saved(jupyter, name), deadline_s=20, what="a saved notebook")
    page.goto("about:blank")
    (tmp_path / "end").touch()
    visit(page, jupyter, name)
    expect(page.get_by_text("done", exact=True).first).to_be_visible(timeout=60_000)
    expect(page.locator(".hops-run")).to_have_count(0, timeout=60_000)
    page.evaluate(SAVE)
    assert set(saved(jupyter, name)) == {"text/html", "text/plain"}
    assert "done" in saved(jupyter, name)["text/plain"]


def test_a_second_browser_shows_a_study_live_and_writes_nothing(
    page: Page, context: BrowserContext, jupyter: Jupyter, tmp_path: Path
) -> None:
    name = "shared.ipynb"
    begun(page, jupyter, tmp_path, name, TUNE)
    wait_until(lambda: RUN_TYPE in saved(jupyter, name), deadline_s=20, what="a saved notebook")
    second = context.new_page()
    visit(second, jupyter, name)
    view = live(second, ".hops-facts")
    expect(view.get_by_text("best loss, trial")).to_be_visible(timeout=60_000)
    first = run_number(page)
    wait_until(lambda: run_number(page) > first, deadline_s=60, what="a newer page in the first browser")
    assert not second.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty")
    view.get_by_role("button", name="Insert best as a cell").click()
    inserted = second.locator(".jp-CodeCell").nth(2)
    expect(inserted).to_contain_text("# loss")
    expect(inserted).to_contain_text("x =")
    shoot(second, "output-second")
    view.get_by_role("button", name="Stop study").click()
    expect(page.locator(".hops-run")).to_have_count(0, timeout=60_000)
    second.close()


def test_a_view_says_when_the_server_is_gone_and_goes_on_when_it_is_back(
    page: Page, console_errors: list[str], tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    with running_jupyter(home) as first:
        begun(page, first, folder, "server.ipynb")
        wait_until(lambda: RUN_TYPE in saved(first, "server.ipynb"), deadline_s=20, what="a saved notebook")
        (told,) = (home / "runtime").glob("jpserver-*.json")
        pid = int(re.findall(r"\d+", told.name)[0])
        os.kill(pid, signal.SIGTERM)
        view = page.locator(".hops-run")
        expect(page.get_by_text("No news since")).to_be_visible(timeout=60_000)
        expect(view.get_by_role("button", name="Stop")).to_have_count(0)
        clock = view.locator(".hops-clock").inner_text()
        wait_until(lambda: is_dead(pid), deadline_s=30, what="the server's end")
        shoot(page, "output-no-server")
        assert view.locator(".hops-clock").inner_text() == clock
        with running_jupyter(home, port=urlsplit(first.url).port or 0):
            expect(page.get_by_text("No news since")).to_have_count(0, timeout=60_000)
            view = live(page)
            expect(view.get_by_role("button", name="Stop")).to_be_enabled()
    # a server that is away is complained about, by the Lab too
    console_errors.clear()
