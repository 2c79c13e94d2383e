"""The table that ``%features get`` shows: live in a notebook, a picture where there is no kernel any more."""

from __future__ import annotations

import subprocess
import sys

import nbformat
from browsing import RUN_ALL, SAVE, SHUT_DOWN_KERNELS, Jupyter, accessibility_faults, shoot, visit, write_notebook
from nbclient import NotebookClient
from playwright.sync_api import Page, expect

SAVED = """
%load_ext hops_magic
%features save towns -g towns --key town_id
"""
TOWNS = """
import datetime, numpy as np, pandas as pd
towns = pd.DataFrame({"town_id": np.arange(1, 1_201), "rain": np.random.default_rng(0).gamma(2, 20, 1_200).round(1)})
towns["name"] = ["<img src=x onerror=document.title='hacked'>" if n == 3 else f"town {n % 7}" for n in towns.town_id]
towns.loc[10, "rain"] = None
"""
GET = "%features get towns.*"
BUSY = "import pathlib, time\nwhile not pathlib.Path('go-on').exists():\n    time.sleep(0.05)"


def first_row(table):
    return table.locator("tbody tr").first


def test_an_answer_is_sorted_and_paged_while_the_kernel_is_busy(
    page: Page, open_notebook, jupyter: Jupyter, console_errors: list[str]
) -> None:
    open_notebook("answer.ipynb", [TOWNS, SAVED, GET, BUSY])
    page.evaluate(RUN_ALL)
    table = page.locator(".hops-answer")
    expect(table.get_by_text("1,200 rows of 3 columns")).to_be_visible(timeout=60_000)
    expect(table.locator("svg.hops-bars")).to_have_count(3)
    expect(first_row(table).locator("td").first).to_have_text("1")
    expect(page.locator(".jp-CodeCell").nth(3).locator(".jp-InputPrompt")).to_have_text("[*]:")
    # the text of a cell is a text
    expect(table.get_by_role("cell", name="<img src=x onerror=")).to_be_visible()
    shoot(page, "answer-table")
    table.get_by_role("button", name="town_id").click()
    table.get_by_role("button", name="town_id").click()
    expect(first_row(table).locator("td").first).to_have_text("1200")
    expect(table.get_by_role("columnheader", name="town_id")).to_have_attribute("aria-sort", "descending")
    table.get_by_role("button", name="Rows after").click()
    expect(table.get_by_role("status")).to_have_text("51 to 100 of 1,200")
    expect(first_row(table).locator("td").first).to_have_text("1150")
    table.get_by_role("button", name="rain").click()
    table.get_by_role("button", name="Last rows").click()
    # what has no value comes last
    expect(table.locator("tbody tr").last.locator("td").nth(1)).to_have_text("null")
    shoot(page, "answer-table-sorted")
    assert accessibility_faults(page, ".hops-answer") == []
    # of the live table and the picture, one is seen
    expect(page.locator(".hops-answer-saved")).to_be_hidden()
    (jupyter.root / "go-on").touch()
    expect(page.locator(".jp-CodeCell").nth(3).locator(".jp-InputPrompt")).to_have_text("[4]:", timeout=30_000)
    page.evaluate(SAVE)
    page.evaluate(SHUT_DOWN_KERNELS)
    visit(page, jupyter, "answer.ipynb")
    expect(page.locator(".hops-answer-saved")).to_be_visible()
    expect(page.get_by_text("1,100 more rows")).to_be_visible()
    expect(page.get_by_text("model not found").or_(page.get_by_text("Loading widget"))).to_be_hidden()
    shoot(page, "answer-table-reopened")
    assert page.title() != "hacked"
    # what the widgets' manager says of a widget whose kernel is gone
    assert all("model not found" in said for said in console_errors)
    console_errors.clear()


def test_an_answer_whose_widget_was_saved_without_its_kernel_is_a_picture(page: Page, jupyter: Jupyter) -> None:
    path = write_notebook(jupyter, "answer-executed.ipynb", [TOWNS, SAVED, GET])
    notebook = nbformat.read(path, as_version=4)
    # it writes the states of widgets into the notebook, from which pages make them anew
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(jupyter.root)}}).execute(env=jupyter.env)
    assert "widgets" in notebook.metadata
    nbformat.write(notebook, path)
    # of what nobody trusts, pages show no widgets
    subprocess.run([sys.executable, "-m", "jupyter", "trust", path], env=jupyter.env, timeout=120, check=True)
    visit(page, jupyter, path.name)
    expect(page.get_by_text("Waiting for the rows")).to_be_visible(timeout=60_000)
    expect(page.locator(".hops-answer-saved")).to_be_visible()
    expect(page.get_by_text("1,100 more rows")).to_be_visible()
    shoot(page, "answer-table-executed")


def test_voila_shows_the_live_table_alone(page: Page, jupyter: Jupyter) -> None:
    write_notebook(jupyter, "answer-voila.ipynb", [TOWNS, SAVED, GET])
    page.goto(f"{jupyter.url}/voila/render/answer-voila.ipynb", wait_until="domcontentloaded")
    table = page.locator(".hops-answer")
    expect(table.get_by_text("1,200 rows of 3 columns")).to_be_visible(timeout=60_000)
    table.get_by_role("button", name="town_id").click()
    table.get_by_role("button", name="town_id").click()
    expect(first_row(table).locator("td").first).to_have_text("1200")
    expect(page.locator(".hops-answer-saved")).to_have_count(0)
    shoot(page, "answer-table-voila")
