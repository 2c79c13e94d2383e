"""The live view in real front ends, driven by a run that keeps its cell busy."""

from __future__ import annotations

import nbformat
from browsing import (
    RUN_ALL,
    SAVE,
    SHUT_DOWN_KERNELS,
    Jupyter,
    accessibility_faults,
    shoot,
    visit,
    wait_until,
    write_notebook,
)
from playwright.sync_api import Locator, Page, expect

CELL = "from fake_feed import *\nrun = follow({})\nprint('ended', run.state.value)"
ENDLESS = CELL.format("training(ranks=2, epochs=500, steps=20)")
SHORT = CELL.format("training(ranks=2, epochs=6, steps=20), pace_s=0.002")
VOILA = "from fake_feed import *\nfollow(training(ranks=2, epochs=500, steps=20))"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def running_view(page: Page) -> Locator:
    """The view once curves by epoch are drawn."""
    view = page.locator(".hops-run")
    expect(view.locator(".hops-facts")).to_contain_text("epoch 4/", timeout=120_000)
    expect(view.locator(".hops-plot canvas")).to_have_count(2)
    return view


def stop(page: Page, view: Locator) -> None:
    button = view.get_by_role("button", name="Stop")
    button.click()
    expect(page.get_by_text("ended stopped")).to_be_visible(timeout=10_000)


def outputs(jupyter: Jupyter, name: str) -> list[dict]:
    return nbformat.read(jupyter.root / name, as_version=4).cells[0].outputs


def test_lab_shows_a_run_while_its_cell_is_busy_and_stops_it(page: Page, open_notebook, jupyter: Jupyter) -> None:
    open_notebook("lab.ipynb", [ENDLESS])
    page.evaluate(RUN_ALL)
    view = running_view(page)
    expect(view.get_by_role("status")).to_have_text("running")
    expect(view.locator(".hops-legend").first).to_contain_text("val_loss")
    expect(view.get_by_role("row")).to_have_count(3)
    expect(view.get_by_role("tabpanel")).to_contain_text("epoch 3: accuracy")
    shoot(page, "lab-running")
    view.get_by_role("tab", name="rank 1").click()
    expect(view.locator(".hops-stderr").first).to_be_visible()
    view.get_by_text("What travelled to the cluster").click()
    expect(view.get_by_role("cell", name="mapped once per node")).to_be_visible()
    assert accessibility_faults(page) == []
    page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    expect(view.locator(".hops-plot canvas")).to_have_count(2)
    shoot(page, "lab-running-dark")
    assert accessibility_faults(page) == []
    stop(page, view)
    expect(view).to_have_count(0)
    expect(page.get_by_text("stopped by you")).to_be_visible()
    shoot(page, "lab-stopped-dark")
    page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    page.evaluate(SAVE)
    assert not any(WIDGET_VIEW in output.get("data", {}) for output in outputs(jupyter, "lab.ipynb"))


def test_a_saved_notebook_shows_the_end_without_its_kernel(page: Page, open_notebook, jupyter: Jupyter) -> None:
    path = open_notebook("saved.ipynb", [SHORT])
    page.evaluate(RUN_ALL)
    expect(page.get_by_text("ended done")).to_be_visible(timeout=60_000)
    page.evaluate(SAVE)
    shoot(page, "lab-ended")
    shown = outputs(jupyter, "saved.ipynb")[0]["data"]
    assert set(shown) == {"text/html", "text/plain"}
    assert "val_accuracy" in shown["text/plain"]
    page.evaluate(SHUT_DOWN_KERNELS)
    for trusted in (True, False):
        if not trusted:
            # as somebody else gets it: without the signature, so that the page sanitises it
            text = path.read_text()
            path.write_text(text.replace("fake_feed", "fake_feed ", 1))
        visit(page, jupyter, "saved.ipynb")
        expect(page.get_by_text("digits-cnn").first).to_be_visible()
        expect(page.get_by_role("img", name="curve of loss")).to_be_visible()
        assert page.evaluate("() => document.querySelector('.jp-OutputArea img').naturalWidth") > 100
        expect(page.get_by_text("epoch 6: accuracy")).to_be_visible()
        expect(page.get_by_text("Loading widget")).to_have_count(0)
        shoot(page, f"lab-reopened-{'trusted' if trusted else 'untrusted'}")


def test_a_reloaded_page_gets_the_view_back(page: Page, open_notebook, jupyter: Jupyter) -> None:
    open_notebook("reload.ipynb", ["from fake_feed import *\nfollow(training(ranks=2, epochs=12, steps=20))"])
    page.evaluate(RUN_ALL)
    running_view(page)
    page.evaluate(SAVE)
    visit(page, jupyter, "reload.ipynb")
    view = page.locator(".hops-run")
    expect(view.get_by_role("status")).to_have_text("done", timeout=60_000)
    expect(view.locator(".hops-plot canvas")).to_have_count(2)
    expect(view.get_by_role("tabpanel")).to_contain_text("epoch 12: accuracy")
    shoot(page, "lab-reloaded")


def test_notebook_7(page: Page, open_notebook) -> None:
    open_notebook("classic.ipynb", [ENDLESS], at="notebooks")
    page.evaluate(RUN_ALL)
    view = running_view(page)
    shoot(page, "notebook7-running")
    stop(page, view)


def test_voila(page: Page, jupyter: Jupyter) -> None:
    write_notebook(jupyter, "board.ipynb", [VOILA])
    page.goto(f"{jupyter.url}/voila/render/board.ipynb", wait_until="domcontentloaded")
    view = running_view(page)
    shoot(page, "voila-running")
    view.get_by_role("button", name="Stop").click()
    expect(view.get_by_role("status")).to_have_text("stopped", timeout=10_000)
    shoot(page, "voila-stopped")


def test_waiting_and_failed_runs(page: Page, open_notebook) -> None:
    cells = [f"from fake_feed import *\nview = open_view({run}(), on_stop=print)" for run in ("waiting", "failed")]
    open_notebook("states.ipynb", [*cells, "view.close()"])
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }")
    queued = page.locator(".hops-run").first
    expect(queued.get_by_text("waiting for 3 slots, 2 free, 2nd in the queue")).to_be_visible(timeout=30_000)
    expect(queued.get_by_role("button", name="Stop")).to_be_enabled()
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }")
    failed = page.locator(".hops-run").nth(1)
    expect(failed.get_by_role("alert")).to_contain_text("ranks 0-11: ValueError: x has 10 rows, y has 9")
    expect(failed.get_by_text("Restarted: rank 7 was killed by SIGKILL")).to_be_visible()
    expect(failed.get_by_role("button", name="Stop")).to_have_count(0)
    expect(failed.get_by_role("cell", name="93 %, 31.0 GiB")).to_have_count(3)
    failed.get_by_role("alert").get_by_role("group").locator("summary").click()
    expect(failed.get_by_text("line 3")).to_be_visible()
    shoot(page, "lab-states")
    assert accessibility_faults(page) == []


def test_hostile_texts_are_shown_and_nothing_else(page: Page, open_notebook) -> None:
    events = "(*hostile(), *training(ranks=2, epochs=500, steps=20))"
    open_notebook("hostile.ipynb", [CELL.format(f"{events}, name='<b>\\u202e' + 'n' * 5000")])
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-run")
    expect(view.locator(".hops-html b")).to_have_text("kept", timeout=60_000)
    expect(view.get_by_text("ranks 0-1: ValueError").first).to_be_visible()
    shoot(page, "lab-hostile")
    is_contained = "() => { const el = document.querySelector('.hops-run'); return el.scrollWidth <= el.clientWidth + 1 }"
    assert page.evaluate(is_contained)
    assert view.locator("script, iframe, [onerror], [onload], a[href]").count() == 0
    stop(page, view)
    wait_until(lambda: page.locator(".jp-OutputArea-output details").count(), deadline_s=10, what="the static view")
    shoot(page, "lab-hostile-ended")
    assert page.evaluate("() => window.pwned") is None
