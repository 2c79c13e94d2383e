"""The sidebar as part of JupyterLab and Notebook 7: its place, the keyboard, what a reload keeps, commands, settings."""

from __future__ import annotations

import pandas as pd
import pytest
from browsing import Jupyter, shoot, wait_until
from playwright.sync_api import Locator, Page, expect

from hops_magic.features.store import FeatureStore
from hops_magic.settings import FeatureSettings

SECTIONS = ("Features", "Experiments", "Models", "Cluster")
GROUP = "shell_teams@1"
API = "/hops/api/v1/"
EXECUTE = "([command, args]) => window.jupyterapp.commands.execute(command, args)"


@pytest.fixture(scope="module")
def group(jupyter: Jupyter) -> str:
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(jupyter.root.parent / "hops")}))
    store.save(pd.DataFrame({"team_id": range(20), "wins": range(20)}), "shell_teams", key="team_id")
    return GROUP


def open_lab(page: Page, jupyter: Jupyter) -> None:
    """A workspace of this test's own, as new."""
    page.goto(f"{jupyter.url}/lab/workspaces/shell?reset", wait_until="domcontentloaded")
    restored(page)
    # it takes the focus when it comes
    expect(page.locator(".jp-Launcher")).to_be_visible()


def restored(page: Page) -> None:
    expect(page.locator("#jp-main-dock-panel")).to_be_visible(timeout=60_000)
    page.evaluate("() => window.jupyterapp.restored")


def execute(page: Page, command: str, **args: object) -> None:
    page.evaluate(EXECUTE, [command, args])


def open_panel(page: Page) -> Locator:
    page.get_by_role("tab", name="Features, experiments, models and the cluster").click()
    panel = page.locator("#hops-panel")
    expect(panel).to_be_visible()
    return panel


def test_lab_has_a_panel_of_four_sections_that_asks_nothing_before_it_is_seen(page: Page, jupyter: Jupyter) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if API in request.url else None)
    open_lab(page, jupyter)
    assert asked == []
    panel = open_panel(page)
    expect(panel.get_by_role("tab")).to_have_text(SECTIONS)
    for name in SECTIONS:
        panel.get_by_role("tab", name=name).click()
        expect(panel.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        expect(panel.get_by_role("region", name=name)).to_be_visible()
        # the registry is made when it is first asked
        expect(panel.get_by_text("Loading…")).to_have_count(0, timeout=60_000)
        assert panel.evaluate("node => node.scrollWidth <= node.clientWidth"), f"{name} is wider than the sidebar"
    assert any("/cluster" in url for url in asked)
    assert not panel.get_by_role("alert").all_inner_texts()


def test_the_keyboard_reaches_sections_and_their_content(page: Page, jupyter: Jupyter) -> None:
    open_lab(page, jupyter)
    panel = open_panel(page)
    panel.get_by_role("tab", name="Features").focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("tab", name="Experiments")).to_be_focused()
    expect(panel.get_by_role("region", name="Experiments")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(panel.get_by_role("tab", name="Cluster")).to_be_focused()
    page.keyboard.press("Home")
    expect(panel.get_by_role("tab", name="Features")).to_be_focused()
    page.keyboard.press("Tab")
    expect(panel.get_by_role("searchbox")).to_be_focused()


def test_commands_and_shortcuts_bring_the_panel_and_put_the_focus_into_its_search(page: Page, jupyter: Jupyter) -> None:
    open_lab(page, jupyter)
    page.keyboard.press("Control+Alt+f")
    panel = page.locator("#hops-panel")
    expect(panel.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Control+Alt+e")
    expect(panel.get_by_role("tab", name="Experiments")).to_have_attribute("aria-selected", "true")
    execute(page, "apputils:activate-command-palette")
    page.locator(".lm-CommandPalette-input").fill("Hops Cluster")
    offered = page.locator(".lm-CommandPalette-itemLabel")
    expect(offered.filter(has_text="Start the Cluster")).to_be_visible()
    offered.filter(has_text="Show the Cluster").click()
    expect(panel.get_by_role("tab", name="Cluster")).to_have_attribute("aria-selected", "true")


def test_a_reload_keeps_the_section_and_the_detail_views(page: Page, jupyter: Jupyter, group: str) -> None:
    open_lab(page, jupyter)
    panel = open_panel(page)
    panel.get_by_role("tab", name="Models").click()
    execute(page, "hops-magic:open-detail", kind="group", id=group)
    execute(page, "hops-magic:open-detail", kind="group", id=group)
    detail = page.locator(".hops-detail-widget")
    expect(detail).to_have_count(1)
    expect(detail.get_by_role("heading", name="shell_teams")).to_be_visible()
    kept = f"{jupyter.url}/lab/api/workspaces/shell"
    wait_until(
        lambda: all(
            word in page.request.get(kept).text() for word in (f"group:{group}", '"section": "models"', "hops-panel")
        ),
        deadline_s=20,
        what="the saved layout",
    )
    page.reload(wait_until="domcontentloaded")
    restored(page)
    expect(panel.get_by_role("tab", name="Models")).to_have_attribute("aria-selected", "true", timeout=20_000)
    expect(detail.get_by_role("heading", name="shell_teams")).to_be_visible()
    shoot(page, "shell-restored")


def test_settings_choose_the_side_and_the_sections(page: Page, jupyter: Jupyter) -> None:
    open_lab(page, jupyter)
    write = "raw => window.jupyterapp.serviceManager.settings.save('hops-magic:plugin', raw)"
    page.evaluate(write, '{"sections": ["cluster", "models"], "side": "right"}')
    try:
        page.reload(wait_until="domcontentloaded")
        restored(page)
        expect(page.locator("#jp-right-stack #hops-panel")).to_be_attached()
        expect(open_panel(page).get_by_role("tab")).to_have_text(["Cluster", "Models"])
    finally:
        page.evaluate(write, "{}")


def test_notebook_7_has_the_panel_and_inserts_code(page: Page, open_notebook, group: str) -> None:
    open_notebook("shell.ipynb", ["x = 1"], at="notebooks")
    page.wait_for_function("() => window.jupyterapp.commands.hasCommand('hops-magic:open-panel')")
    execute(page, "hops-magic:search-features")
    panel = page.locator("#hops-panel")
    expect(panel.get_by_role("searchbox")).to_be_focused()
    expect(panel.get_by_role("tab")).to_have_text(SECTIONS)
    execute(page, "hops-magic:insert-get")
    expect(page.locator(".jp-Notebook .jp-CodeCell").nth(1)).to_contain_text("%features get")
    execute(page, "hops-magic:open-detail", kind="group", id=group)
    detail = page.locator(".hops-detail-widget")
    expect(detail.get_by_role("heading", name="shell_teams")).to_be_visible()
    assert detail.bounding_box()["width"] >= 470
    shoot(page, "shell-notebook")
