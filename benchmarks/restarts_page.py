"""A page that is loaded anew in mid-run, and the Lab's own button that restarts a kernel: in a real browser."""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import nbformat
from browsing import RUN_ALL, Jupyter, running_jupyter, visit, wait_until, write_notebook
from nbformat.reader import NotJSONError
from playwright.sync_api import Browser, Page, expect

from benchmarks.sidebar_page import chromium, page_of

RUN_TYPE = "application/vnd.hops.run.v1+json"
BODY = """
import pathlib, time
import hops_magic as hops
step = 0
while not pathlib.Path({end!r}).exists():
    step += 1
    hops.report(step=step, loss={loss})
    time.sleep(0.02)
"""
KINDS = {
    "distributed": "%%distributed -n 1 --framework none --name {name}" + BODY + "answer = 42",
    "tune": "%%tune -n 1 -p 1 --minimize loss --stop none --name {name} x=uniform(0, 1)" + BODY,
    "attach": "%attach {name}",
}
# notes, frame by frame, when the notebook is shown, when its view is live, and when a number in it has changed since
WATCH = """() => {
  const told = window.hopsTold = { shown: 0, live: 0, moved: 0, loading: false };
  let first;
  const look = () => {
    told.shown ||= document.querySelector('.jp-NotebookPanel .jp-CodeCell') ? performance.now() : 0;
    told.loading ||= !!document.body?.innerText.includes('Loading widget');
    const view = document.querySelector('.hops-run');
    const stop = view && [...view.querySelectorAll('button')].find(each => each.innerText.startsWith('Stop'));
    if (stop && !stop.disabled && view.querySelector('[role=status]')?.innerText === 'running') {
      told.live ||= performance.now();
      const values = view.innerText.replace(view.querySelector('.hops-clock')?.innerText, '');
      first ??= values;
      told.moved ||= values !== first ? performance.now() : 0;
    }
    if (!told.moved) { requestAnimationFrame(look) }
  };
  requestAnimationFrame(look);
}"""
RUN_CELL = """([index, source]) => {
  const { content } = window.jupyterapp.shell.currentWidget;
  content.activeCellIndex = index;
  content.activeCell.model.sharedModel.setSource(source);
  void window.jupyterapp.commands.execute('notebook:run-cell');
}"""


@dataclass(frozen=True)
class Place:
    """A server, a browser and a folder for the files that end runs."""

    jupyter: Jupyter
    browser: Browser
    folder: Path

    @contextmanager
    def begun(self, kind: str, name: str) -> Iterator[Page]:
        """A page on whose notebook a run goes on, and is saved; attached, it was begun by the cell before."""
        named = {"name": name, "end": str(self.folder / name), "loss": "x / step" if kind == "tune" else "1 / step"}
        before = KINDS["distributed"].format(**named).replace("--name", "--detach --name") if kind == "attach" else "1"
        cells = ["%load_ext hops_magic", before, KINDS[kind].format(**named), ""]
        write_notebook(self.jupyter, f"{name}.ipynb", cells)
        with page_of(self.browser) as page:
            page.add_init_script(f"({WATCH})()")
            visit(page, self.jupyter, f"{name}.ipynb")
            page.wait_for_function("() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel")
            page.evaluate(RUN_ALL)
            expect(page.locator(".hops-run").get_by_role("status").first).to_have_text("running", timeout=180_000)
            page.wait_for_function("() => window.hopsTold.moved", timeout=180_000)
            wait_until(lambda: RUN_TYPE in self._saved(name), deadline_s=180, what="a saved notebook")
            yield page
        (self.folder / name).touch()

    def _saved(self, name: str) -> set[str]:
        try:
            outputs = nbformat.read(self.jupyter.root / f"{name}.ipynb", as_version=4).cells[2].outputs
        except NotJSONError:
            # it is being written
            return set()
        return {kind for output in outputs for kind in output.get("data", {})}


Way = Callable[[Place, str, str], float]


def reloaded(place: Place, kind: str, name: str) -> float:
    """Load the page anew and stop the run there; return the seconds from the notebook to the live view."""
    with place.begun(kind, name) as page:
        visit(page, place.jupyter, f"{name}.ipynb")
        page.wait_for_function("() => window.hopsTold.moved", timeout=60_000)
        told = page.evaluate("() => window.hopsTold")
        if told["loading"]:
            raise AssertionError(f"{name}: there was a widget without a kernel")
        view = page.locator(".hops-run")
        view.get_by_role("button", name="Stop").first.click()
        expect(page.get_by_text("stopped by the user").first).to_be_visible(timeout=120_000)
        return float(told["live"] - told["shown"]) / 1000


def restarted(place: Place, kind: str, name: str) -> float:
    """Restart the kernel by the Lab's button, and bring the run's values into the new one."""
    with place.begun(kind, name) as page:
        page.get_by_role("button", name="Restart the kernel", exact=True).click()
        page.locator(".jp-Dialog .jp-mod-accept").click()
        expect(page.locator(".jp-CodeCell").nth(2).locator(".jp-InputPrompt")).not_to_have_text("[*]:", timeout=180_000)
        expect(page.locator(".hops-run").get_by_role("status").first).to_have_text("running", timeout=180_000)
        told = "(study.state.value, list(best))" if kind == "tune" else "answer"
        attach = f"%load_ext hops_magic\n%attach {name}\nprint('it brought', {told})"
        page.evaluate(RUN_CELL, [3, attach])
        expect(page.locator(".hops-run")).to_have_count(2, timeout=180_000)
        (place.folder / name).touch()
        wanted = "it brought ('done', ['x'])" if kind == "tune" else "it brought 42"
        expect(page.get_by_text(wanted)).to_be_visible(timeout=180_000)
    return 0.0


def rows(root: Path, times: int) -> list[list[object]]:
    """Return what held, how often, and how long the views of pages that were loaded anew took."""
    folder = root / "ends"
    folder.mkdir()
    with running_jupyter(root) as server, chromium() as browser:
        place = Place(server, browser, folder)
        return [
            _row(place, "JupyterLab's button restarts the kernel", restarted, times),
            _row(place, "the page is loaded anew: a live view", reloaded, times),
        ]


def _row(place: Place, title: str, way: Way, times: int) -> list[object]:
    seconds = []
    for number, kind in enumerate(islice(cycle(KINDS), times)):
        name = f"{way.__name__}-{number}"
        try:
            seconds.append(way(place, kind, name))
        # one that failed is counted and told, and the others are tried
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            (place.folder / name).touch()
    print(f"{title}: {len(seconds)} of {times}: {seconds}", flush=True)
    measured = [statistics.median(seconds), max(seconds)] if any(seconds) else []
    shown = [f"{each * 1000:,.0f} ms" for each in measured] or ["", ""]
    return [title, f"{len(seconds)} of {times}", *shown]
