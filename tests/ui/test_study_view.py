"""The live view of a study in JupyterLab: fed with a thousand trials, and by a real study on a real cluster."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from browsing import RUN_ALL, SAVE, Jupyter, accessibility_faults, shoot, write_notebook
from playwright.sync_api import Page, expect

FED = "from fake_study import *\nstudy = follow({})\nprint('ended', study.state.value, len(study.trials))"
VOILA = "from fake_study import *\nfollow(200, 40, pace_s=0.1, wanted=500)"
TUNE = """%%tune -n 20 --minimize loss --stop median --seed 3 --name tuned -p 2 x=uniform(0, 1) kind=choice(["a", "b"])
import pathlib
import time

import hops_magic as hops

print("trial with", x, kind, flush=True)
pathlib.Path(folder, f"trial-{x}").touch()
while len(list(pathlib.Path(folder).glob("trial-*"))) > 8 and not pathlib.Path(folder, "looked").exists():
    time.sleep(0.05)  # the study goes on when its view has been looked at
for step in range(1, 13):
    hops.report(step=step, loss=(x - 0.3) ** 2 + 1 / step)
    time.sleep(0.05)"""

# frames of 16 ms: what takes more than six of them is felt as a stutter
FLUID = """() => new Promise(resolve => {
  const gaps = []; let last = performance.now();
  const tick = now => {
    gaps.push(now - last); last = now;
    if (gaps.length < 120) { requestAnimationFrame(tick) } else { gaps.sort((a, b) => a - b); resolve(gaps[60]) }
  };
  requestAnimationFrame(tick);
})"""


def test_a_study_is_watched_sorted_opened_and_stopped(page: Page, open_notebook, jupyter: Jupyter) -> None:
    path = open_notebook("study.ipynb", [FED.format("200, 40, pace_s=0.25, wanted=500")])
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-study")
    expect(view.locator(".hops-facts").first).to_contain_text("stopped early", timeout=60_000)
    expect(view.get_by_text("best val_loss, trial")).to_be_visible()
    expect(view.get_by_role("img", name="Best value so far")).to_be_visible()
    expect(view.get_by_role("img", name="Curves of")).to_be_visible()
    view.get_by_text("Hyperparameters").click()
    expect(view.get_by_role("img", name="Parallel coordinates")).to_be_visible()
    shoot(page, "study-20")
    view.get_by_role("button", name="trial", exact=True).click()
    expect(view.locator("tbody button").first).to_have_text("0")
    view.get_by_role("combobox").select_option("failed")
    expect(view.locator("tbody tr.hops-trial-failed").first).to_be_visible(timeout=20_000)
    expect(view.locator("tbody tr.hops-trial-done")).to_have_count(0)
    view.get_by_role("combobox").select_option("")
    view.get_by_title("Open trial 0", exact=True).click()
    expect(view.get_by_text("output of trial 0")).to_be_visible(timeout=20_000)
    expect(view.locator(".hops-opened .hops-plot canvas")).to_have_count(1)
    shoot(page, "study-20-opened")
    assert accessibility_faults(page) == []
    view.get_by_role("combobox").select_option("running")
    # the last one goes on longest
    view.locator("tbody button").last.click()
    view.get_by_role("button", name="Stop trial").click()
    expect(view.locator(".hops-opened").get_by_text("stopped by the user")).to_be_visible(timeout=20_000)
    view.get_by_role("combobox").select_option("")
    view.get_by_role("button", name="Stop study").click()
    expect(page.get_by_text("ended stopped")).to_be_visible(timeout=20_000)
    shoot(page, "study-stopped")
    page.evaluate(SAVE)
    saved = nbformat.read(path, as_version=4).cells[0].outputs[0]["data"]
    assert set(saved) == {"text/html", "text/plain"}
    assert "best val_loss" in saved["text/plain"]


def test_notebook_7(page: Page, open_notebook) -> None:
    open_notebook("study7.ipynb", [FED.format("200, 40, pace_s=0.1, wanted=500")], at="notebooks")
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-study")
    expect(view.get_by_role("img", name="Best value so far")).to_be_visible(timeout=60_000)
    shoot(page, "study-notebook7")
    view.get_by_role("button", name="Stop study").click()
    expect(page.get_by_text("ended stopped")).to_be_visible(timeout=20_000)


def test_voila(page: Page, jupyter: Jupyter) -> None:
    write_notebook(jupyter, "study-board.ipynb", [VOILA])
    page.goto(f"{jupyter.url}/voila/render/study-board.ipynb", wait_until="domcontentloaded")
    view = page.locator(".hops-study")
    expect(view.get_by_role("img", name="Best value so far")).to_be_visible(timeout=60_000)
    view.get_by_title("Open trial 0", exact=True).click()
    expect(view.get_by_text("output of trial 0")).to_be_visible(timeout=20_000)
    shoot(page, "study-voila")
    view.get_by_role("button", name="Stop study").click()
    expect(view.get_by_text("stopped", exact=True).first).to_be_visible(timeout=20_000)


@pytest.mark.timeout(300)
def test_a_thousand_trials_of_a_hundred_reports_stay_fluid(page: Page, open_notebook) -> None:
    open_notebook("many.ipynb", [FED.format("1000, 100, pace_s=0.015, wanted=1000, places=64")])
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-study")
    expect(view.locator(".hops-facts").first).to_contain_text("of 1000 trials", timeout=60_000)
    expect(
        page.get_by_text("ended done 1000").or_(view.locator(".hops-facts", has_text="9 of 1000 trials")).first
    ).to_be_visible(timeout=200_000)
    # only the rows in view are on the page
    assert view.locator("tbody tr").count() < 60
    assert page.evaluate(FLUID) < 100
    shoot(page, "study-1000")
    expect(page.get_by_text("ended done 1000")).to_be_visible(timeout=200_000)
    shoot(page, "study-1000-ended")


@pytest.mark.timeout(600)
def test_a_cell_is_tuned_before_the_users_eyes(page: Page, open_notebook, jupyter: Jupyter, tmp_path: Path) -> None:
    cells = [
        f"%load_ext hops_magic\nfolder = {str(tmp_path)!r}",
        TUNE,
        "print('best is', best, 'of', len(study.trials), 'trials')",
    ]
    path = open_notebook("tune.ipynb", cells)
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-study")
    # the first study starts the cluster
    expect(view).to_be_visible(timeout=120_000)
    expect(view.get_by_text("best loss, trial")).to_be_visible(timeout=120_000)
    view.get_by_title("Open trial 0", exact=True).click()
    expect(view.get_by_text("trial with")).to_be_visible(timeout=30_000)
    view.get_by_role("button", name="Insert best as a cell").click()
    shoot(page, "tune-running")
    (tmp_path / "looked").touch()
    expect(page.get_by_text("best is {'x'")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("img", name="curves of all trials")).to_be_visible()
    shoot(page, "tune-ended")
    page.evaluate(SAVE)
    saved = nbformat.read(path, as_version=4)
    assert "tuned: done" in saved.cells[1].outputs[0]["data"]["text/plain"]
    assert any(cell.source.startswith("# loss") for cell in saved.cells)
