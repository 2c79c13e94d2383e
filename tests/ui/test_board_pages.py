"""Boards on pages of voila and in notebooks, which show what other processes do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import KERNEL_READY, RUN_ALL, Jupyter, accessibility_faults, running_jupyter, shoot, visit, write_notebook
from playwright.sync_api import Locator, Page, expect
from seeding import seed

DASHBOARD = Path(__file__).parents[2] / "examples" / "dashboard.ipynb"
# runs until it is told to end
SLOW = """
import pathlib, sys
import hops_magic as hops

end = pathlib.Path(sys.argv[1])

def train():
    import time
    step = 0
    while not end.exists():
        hops.report(step=step, loss=1 / (1 + step))
        step += 1
        time.sleep(0.02)

print(hops.train(train, workers=1, framework="none", name="slow", detach=True).run_id, flush=True)
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with running_jupyter(tmp_path_factory.mktemp("boards")) as server:
        seed(Path(server.env["HOPS_HOME"]))
        shutil.copy(DASHBOARD, server.root)
        yield server


def start_run(jupyter: Jupyter, end: Path) -> str:
    command = [sys.executable, "-c", SLOW, str(end)]
    done = subprocess.run(command, env=jupyter.env, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.split()[-1]


def live(board: Locator) -> Locator:
    """The view of a run, once it has been seen to go on."""
    view = board.locator(".hops-run")
    expect(view.get_by_role("status").first).to_have_text("running", timeout=90_000)
    values = view.locator(".hops-legend").first
    expect(values).to_contain_text("loss", timeout=60_000)
    expect(values).not_to_have_text(values.inner_text(), timeout=20_000)
    return view


def test_voila_follows_a_run_of_another_process_from_its_id(page: Page, jupyter: Jupyter, tmp_path: Path) -> None:
    run_id = start_run(jupyter, tmp_path / "end")
    page.goto(f"{jupyter.url}/voila/render/dashboard.ipynb?run={run_id}", wait_until="domcontentloaded")
    board = page.locator(".hops-board").first
    view = live(board)
    # a page for readers: no code, and nothing that changes anything
    expect(page.get_by_text("RunBoard(")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    shoot(page, "board-voila-running")
    assert accessibility_faults(page, ".hops-board") == []
    (tmp_path / "end").touch()
    expect(view.get_by_role("status").first).to_have_text("done", timeout=60_000)
    page.get_by_role("tab", name="Experiments", exact=True).click()
    experiments = page.get_by_label("Experiments", exact=True).last
    expect(experiments.get_by_text("good", exact=True)).to_be_visible(timeout=30_000)
    shoot(page, "board-voila-experiments")
    experiments.get_by_role("searchbox").fill("d")
    expect(experiments.get_by_text("good", exact=True)).to_be_visible()
    experiments.get_by_text("good", exact=True).click()
    expect(page.get_by_role("button", name="Back")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    expect(experiments.get_by_text("bad", exact=True)).to_be_visible()
    expect(experiments.get_by_role("searchbox")).to_have_value("d")
    page.get_by_role("tab", name="Features", exact=True).last.click()
    expect(page.locator(".hops-group:visible").filter(has_text="teams").first).to_be_visible(timeout=60_000)
    shoot(page, "board-voila-features")


def test_a_notebooks_board_stops_a_run_where_it_is_asked_to(page: Page, jupyter: Jupyter, tmp_path: Path) -> None:
    run_id = start_run(jupyter, tmp_path / "end")
    write_notebook(
        jupyter, "boards.ipynb", ["import hops_magic as hops", f"hops.RunBoard({run_id[:12]!r}, read_only=False)"]
    )
    visit(page, jupyter, "boards.ipynb")
    page.evaluate(KERNEL_READY)
    page.evaluate(RUN_ALL)
    view = live(page.locator(".hops-board"))
    shoot(page, "board-notebook-running")
    view.get_by_role("button", name="Stop").click()
    expect(view.get_by_role("status").first).to_have_text("stopped", timeout=60_000)


def test_a_board_lives_while_a_cell_keeps_the_kernel_busy(page: Page, jupyter: Jupyter) -> None:
    busy = "import pathlib, time\nwhile not pathlib.Path('go-on').exists():\n    time.sleep(0.05)"
    write_notebook(jupyter, "busy.ipynb", ["import hops_magic as hops\nhops.FeatureBoard()", busy])
    visit(page, jupyter, "busy.ipynb")
    page.evaluate(KERNEL_READY)
    page.evaluate(RUN_ALL)
    board = page.locator(".hops-board")
    expect(board.locator(".hops-group")).to_have_count(2, timeout=60_000)
    board.locator(".hops-group").get_by_text("teams", exact=True).click()
    expect(board.get_by_role("heading", name="teams")).to_be_visible(timeout=30_000)
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
    shoot(page, "board-busy-kernel")
    (jupyter.root / "go-on").touch()
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt")).to_have_text("[2]:", timeout=30_000)
