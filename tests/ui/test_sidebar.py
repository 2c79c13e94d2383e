"""The sidebar in JupyterLab and Notebook 7, as a user with a mouse or a keyboard meets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsing import KERNEL_READY, RUN_ALL, Jupyter, accessibility_faults, running_jupyter, shoot, visit, write_notebook
from playwright.sync_api import Page, Response, expect
from seeding import seed

SECTIONS = ("Features", "Experiments", "Models", "Cluster")
SLOW = """
import hops_magic as hops

def train():
    import time
    for step in range(3000):
        hops.report(step=step, loss=1 / (1 + step))
        time.sleep(0.02)

print(hops.train(train, workers=1, framework="none", name="slow", detach=True).run_id, flush=True)
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with running_jupyter(tmp_path_factory.mktemp("sidebar")) as server:
        yield server


@pytest.fixture(scope="module")
def seeded(jupyter: Jupyter) -> Jupyter:
    seed(Path(jupyter.env["HOPS_HOME"]))
    return jupyter


def run(page: Page, command: str, **args: str) -> None:
    page.evaluate("([command, args]) => { void window.jupyterapp.commands.execute(command, args) }", [command, args])


def opened(page: Page, server: Jupyter, *, cells: tuple[str, ...] = ("%load_ext hops_magic",), at: str = "lab/tree") -> None:
    write_notebook(server, "a.ipynb", list(cells))
    visit(page, server, "a.ipynb", at=at)
    run(page, "hops-magic:open-panel")
    expect(page.get_by_role("tab", name="Features", exact=True)).to_be_visible()


def section(page: Page, name: str) -> None:
    page.locator(".hops-sectionlist").get_by_role("tab", name=name, exact=True).click()


def turn(page: Page, theme: str) -> None:
    run(page, "apputils:change-theme", theme=f"JupyterLab {theme}")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "true" if theme == "Light" else "false")


def test_empty_sections_say_how_to_begin(page: Page, jupyter: Jupyter):
    opened(page, jupyter)
    beginnings = ("No features yet", "No runs yet", "No models yet", "No cluster is running")
    for name, beginning in zip(SECTIONS, beginnings, strict=True):
        section(page, name)
        # the first question makes the store or the registry
        expect(page.get_by_text(beginning)).to_be_visible(timeout=120_000)
        shoot(page, f"sidebar-empty-{name.lower()}")
        assert accessibility_faults(page, ".hops-panel") == []
    turn(page, "Dark")
    for name in SECTIONS:
        section(page, name)
        shoot(page, f"sidebar-dark-empty-{name.lower()}")
        assert accessibility_faults(page, ".hops-panel") == []
    turn(page, "Light")
    section(page, "Features")
    page.get_by_role("button", name="Insert", exact=True).click()
    expect(page.locator(".jp-NotebookPanel .jp-CodeCell").nth(1)).to_contain_text("%features save df")


def test_features_are_searched_chosen_and_inserted(page: Page, seeded: Jupyter):
    opened(page, seeded)
    page.evaluate(KERNEL_READY)
    expect(page.locator(".hops-group")).to_have_count(2)
    shoot(page, "sidebar-features")
    page.get_by_role("searchbox").fill("budg")
    hit = page.locator(".hops-hit")
    expect(hit).to_have_count(1)
    assert hit.locator("mark").inner_text() == "budg"
    hit.get_by_role("checkbox").check()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Features of teams").click()
    page.get_by_role("checkbox", name="Choose teams.wins").check()
    # what was searched and chosen is there when the section is seen again
    page.get_by_role("searchbox").fill("budg")
    section(page, "Experiments")
    expect(page.locator(".hops-runline").first).to_be_visible()
    section(page, "Features")
    expect(page.get_by_role("searchbox")).to_have_value("budg")
    expect(hit.get_by_role("checkbox")).to_be_checked()
    page.get_by_role("searchbox").fill("")
    assert accessibility_faults(page, ".hops-panel") == []
    shoot(page, "sidebar-features-chosen")
    page.get_by_role("button", name="Insert %features get").click()
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").nth(1)
    expect(cell).to_contain_text("%features get teams.budget teams.wins --as df")
    page.evaluate(RUN_ALL)
    expect(cell.locator(".jp-InputPrompt")).to_have_text("[2]:", timeout=90_000)
    expect(cell).not_to_contain_text("Error")
    page.get_by_role("button", name="Features of teams").click()
    page.locator(".hops-feature").filter(has_text="wins").drag_to(page.locator(".jp-NotebookPanel .cm-content").nth(0))
    expect(page.locator(".jp-NotebookPanel .jp-CodeCell").nth(0)).to_contain_text("%features get teams.wins --as df")


def test_a_group_is_shown_from_all_sides(page: Page, seeded: Jupyter):
    opened(page, seeded)
    page.locator(".hops-group").get_by_text("teams", exact=True).click()
    detail = page.locator(".hops-detail")
    expect(detail.get_by_role("heading", name="teams")).to_be_visible()
    for tab, text in (
        ("Features", "double"),
        ("Statistics", "Pearson's correlation"),
        ("Preview", "rows 1 to 50 of 400"),
        ("Commits", "50 changed"),
        ("Validation", "broken"),
        ("Lineage", "matches@1"),
    ):
        detail.get_by_role("tab", name=tab).click()
        expect(detail).to_contain_text(text, timeout=20_000)
        shoot(page, f"group-{tab.lower()}")
        assert accessibility_faults(page, ".hops-detail") == [], tab
    # the picture is walked by its nodes
    detail.locator(".hops-node", has_text="good").click()
    expect(detail.get_by_role("button", name="Open good")).to_be_visible()
    detail.get_by_role("button", name="Open good").click()
    expect(page.locator(".hops-detail:visible").get_by_role("tab", name="Progress")).to_be_visible()


def test_runs_are_filtered_opened_compared_and_deleted(page: Page, seeded: Jupyter):
    opened(page, seeded)
    section(page, "Experiments")
    rows = page.locator(".hops-runline")
    expect(rows).to_have_count(4)
    # what a name says is text
    assert page.evaluate("() => window.hacked") is None
    shoot(page, "sidebar-experiments")
    page.get_by_label("State").select_option("failed")
    expect(rows).to_have_count(1)
    page.get_by_label("State").select_option("")
    expect(rows).to_have_count(4)
    page.get_by_role("checkbox", name="Choose good for a comparison").check()
    page.get_by_role("checkbox", name="Choose bad for a comparison").check()
    page.get_by_role("button", name="Compare").click()
    comparison = page.locator(".hops-detail:visible")
    expect(comparison).to_contain_text("0.01")
    comparison.get_by_role("tab", name="Curves").click()
    expect(comparison.locator(".hops-chart")).to_be_visible()
    shoot(page, "compare")
    comparison.get_by_role("tab", name="Parallel coordinates").click()
    expect(comparison.get_by_role("img", name="Parallel coordinates")).to_be_visible()
    shoot(page, "compare-parallel")
    rows.get_by_text("good", exact=True).click()
    detail = page.locator(".hops-detail:visible")
    expect(detail.locator(".hops-chart")).to_be_visible()
    detail.get_by_role("tab", name="Source").click()
    expect(detail).to_contain_text("model.fit(x, y)")
    detail.get_by_role("tab", name="Features and models").click()
    expect(detail).to_contain_text("digits version 1")
    assert accessibility_faults(page, ".hops-detail") == []
    detail.get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(rows).to_have_count(4)
    detail.get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(3)
    page.get_by_label("State").select_option("deleted")
    expect(rows).to_have_count(1)
    shoot(page, "sidebar-experiments-deleted")
    rows.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("No run fits")).to_be_visible()
    page.get_by_label("State").select_option("")
    expect(rows).to_have_count(4)
    detail.get_by_role("button", name="Run again as a new cell").click()
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").nth(1)
    expect(cell).to_be_visible()
    expect(cell).to_contain_text("%%distributed")


def test_models_get_aliases(page: Page, seeded: Jupyter):
    opened(page, seeded)
    section(page, "Models")
    expect(page.locator(".hops-panel")).to_contain_text("champion → v1")
    shoot(page, "sidebar-models")
    page.locator(".hops-group").get_by_text("digits", exact=True).click()
    detail = page.locator(".hops-detail:visible")
    detail.get_by_role("button", name="Add").click()
    detail.get_by_role("textbox").fill("newest")
    detail.get_by_role("button", name="Set").click()
    expect(detail.get_by_text("newest", exact=True)).to_be_visible()
    expect(page.locator(".hops-panel")).to_contain_text("newest → v1")
    shoot(page, "model")
    detail.get_by_role("button", name="Insert loading code").click()
    # the notebook was behind the view
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").nth(1)
    expect(cell).to_be_visible()
    expect(cell).to_contain_text('model = hops.models.load("digits", "champion")')


def test_studies_and_datasets_are_opened_and_a_question_is_asked_again(
    page: Page, seeded: Jupyter, console_errors: list[str]
):
    opened(page, seeded)
    models = "**/hops/api/v1/models*"
    problem = {"title": "Broken", "detail": "the disk is full"}
    page.route(models, lambda route: route.fulfill(status=500, json=problem, content_type="application/problem+json"))
    section(page, "Models")
    expect(page.get_by_role("alert")).to_contain_text("the disk is full")
    shoot(page, "sidebar-problem")
    page.unroute(models)
    # the browser itself complains of the answer
    console_errors.clear()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hops-panel")).to_contain_text("champion → v1")
    # whoever opens it as a run meets the study
    run(page, "hops-magic:open-detail", kind="lineage", id="run:bbbb00000001")
    page.get_by_role("button", name="Open search").click()
    detail = page.locator(".hops-detail:visible")
    expect(detail.locator(".hops-study")).to_be_visible()
    expect(detail.get_by_role("tab", name="Trials")).to_be_visible()
    shoot(page, "study")
    section(page, "Features")
    page.get_by_role("button", name="matches@1").click()
    for tab, text in (("Recipe", "teams@1"), ("Statistics", "Split"), ("Preview", "budget"), ("Lineage", "good")):
        detail.get_by_role("tab", name=tab).click()
        expect(detail).to_contain_text(text)
        shoot(page, f"dataset-{tab.lower()}")
        assert accessibility_faults(page, ".hops-detail:not([hidden])") == [], tab


def test_a_run_appears_while_it_lives_and_is_stopped(page: Page, seeded: Jupyter):
    opened(page, seeded)
    section(page, "Experiments")
    rows = page.locator(".hops-runline")
    expect(rows).to_have_count(4)
    section(page, "Cluster")
    page.get_by_label("Workers", exact=True).fill("1")
    page.get_by_role("button", name="Start", exact=True).click()
    workers = page.locator(".hops-worker")
    expect(workers).to_have_count(1, timeout=60_000)
    page.get_by_label("Workers", exact=True).fill("2")
    page.get_by_role("button", name="Scale").click()
    expect(workers).to_have_count(2, timeout=60_000)
    expect(page.get_by_label("Workers", exact=True)).to_have_value("2")
    section(page, "Experiments")
    subprocess.run([sys.executable, "-c", SLOW], env=seeded.env, timeout=120, check=True)
    slow = rows.filter(has_text="slow")
    expect(slow.get_by_role("img", name="running")).to_be_visible(timeout=60_000)
    slow.get_by_text("slow", exact=True).click()
    detail = page.locator(".hops-detail:visible")
    expect(detail.locator(".hops-chart")).to_be_visible(timeout=30_000)
    section(page, "Cluster")
    expect(page.locator(".hops-panel")).to_contain_text("1 slots")
    shoot(page, "sidebar-cluster")
    assert accessibility_faults(page, ".hops-panel") == []
    detail.get_by_role("button", name="Attach here").click()
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell").nth(1)
    expect(cell).to_be_visible()
    expect(cell).to_contain_text("%attach ")
    page.locator(".hops-list").get_by_role("button", name="slow").click()
    expect(detail.locator(".hops-chart")).to_be_visible()
    section(page, "Experiments")
    slow.get_by_role("button", name="Stop").click()
    expect(slow.get_by_role("img", name="stopped")).to_be_visible(timeout=60_000)
    expect(detail.locator(".hops-state")).to_have_text("stopped")
    section(page, "Cluster")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_text("No cluster is running")).to_be_visible(timeout=30_000)


def saves_the_layout(answer: Response) -> bool:
    return (
        "/api/workspaces/" in answer.url
        and answer.request.method == "PUT"
        and "hops-magic" in (answer.request.post_data or "")
    )


def test_what_was_open_is_open_after_a_reload(page: Page, seeded: Jupyter):
    opened(page, seeded)
    section(page, "Models")
    # the layout is saved a moment after it changed
    with page.expect_response(saves_the_layout, timeout=120_000):
        run(page, "hops-magic:open-detail", kind="group", id="teams@1")
        expect(page.locator(".hops-detail").get_by_role("heading", name="teams")).to_be_visible()
    page.goto(f"{seeded.url}/lab", wait_until="domcontentloaded")
    expect(page.locator(".hops-detail").get_by_role("heading", name="teams")).to_be_visible(timeout=60_000)
    run(page, "hops-magic:open-panel")
    expect(page.get_by_role("tab", name="Models", exact=True)).to_have_attribute("aria-selected", "true")


def test_the_keyboard_reaches_everything(page: Page, seeded: Jupyter):
    opened(page, seeded)
    page.get_by_role("tab", name="Features", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Experiments", exact=True)).to_be_focused()
    rows = page.get_by_role("list", name="Runs").get_by_role("listitem")
    expect(rows.first).to_be_visible()
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".hops-detail:visible")).to_be_visible()


def test_dark(page: Page, seeded: Jupyter):
    opened(page, seeded)
    turn(page, "Dark")
    for name, text in zip(SECTIONS, ("teams", "good", "digits", "No cluster is running"), strict=True):
        section(page, name)
        expect(page.get_by_role("region", name=name)).to_contain_text(text, timeout=60_000)
        shoot(page, f"sidebar-dark-{name.lower()}")
        assert accessibility_faults(page, ".hops-panel") == [], name
    run(page, "hops-magic:open-detail", kind="group", id="teams@1")
    page.locator(".hops-detail").get_by_role("tab", name="Statistics").click()
    expect(page.locator(".hops-detail")).to_contain_text("Pearson's correlation")
    shoot(page, "group-dark-statistics")
    turn(page, "Light")


def test_notebook_7(page: Page, seeded: Jupyter, console_errors: list[str]):
    opened(page, seeded, at="notebooks")
    # what it complains about while it starts is its own affair
    console_errors.clear()
    expect(page.locator(".hops-group")).to_have_count(2)
    page.locator(".hops-group").get_by_text("teams", exact=True).click()
    expect(page.locator(".hops-detail").get_by_role("heading", name="teams")).to_be_visible()
    shoot(page, "sidebar-notebook-7")


def test_the_panel_recovers_when_the_server_comes_back(page: Page, tmp_path: Path, console_errors: list[str]):
    lost = page.get_by_text("The server does not answer")
    with running_jupyter(tmp_path) as server:
        opened(page, server)
        expect(page.get_by_text("No features yet")).to_be_visible(timeout=120_000)
    # nobody has to touch the page for that
    expect(lost).to_be_visible(timeout=60_000)
    seed(Path(server.env["HOPS_HOME"]))
    with running_jupyter(tmp_path, urlsplit(server.url).port or 0):
        expect(page.locator(".hops-group")).to_have_count(2, timeout=60_000)
        expect(lost).to_have_count(0)
        shoot(page, "sidebar-recovered")
        page.goto("about:blank")
    # the browser itself complains of a server that is away
    console_errors.clear()
