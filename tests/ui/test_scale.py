"""The sidebar of somebody with ten thousand features, thousands of runs and a large study."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from browsing import Jupyter, add_server_extension, running_jupyter, wait_until
from playwright.sync_api import Page, expect
from seeding_at_scale import STUDY_NAME, Scale, seed_at_scale

SCALE = Scale(steps=3, reports=30)
MOST_ROWS = 120
CHANGES, CHANGES_PER_S = 2_000, 400
MOST_GROWTH_BYTES = 8 << 20

# the last frame of a jump: what is drawn when the browser has painted
COVERED = """async ([selector, top]) => {
  const place = document.querySelector(selector);
  place.scrollTop = top;
  await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const { top: from, bottom: to } = place.getBoundingClientRect();
  const boxes = [...place.querySelectorAll('.hops-row')].map(row => row.getBoundingClientRect());
  return Math.min(...boxes.map(box => box.top)) <= from && Math.max(...boxes.map(box => box.bottom)) >= to - 1;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    home = tmp_path_factory.mktemp("scale")
    seed_at_scale(home / "hops", SCALE)
    add_server_extension(home, Path(__file__).with_name("fake_live.py"))
    with running_jupyter(home) as server:
        yield server


def opened(page: Page, server: Jupyter, section: str) -> None:
    page.goto(f"{server.url}/lab?reset", wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)", timeout=60_000)
    page.evaluate("() => { void window.jupyterapp.commands.execute('hops-magic:open-panel') }")
    page.locator(".hops-sectionlist").get_by_role("tab", name=section, exact=True).click()


def scrolled_to(page: Page, last: str, label: str) -> None:
    """Scroll a list to its end, which moves on as more is loaded, until a row is there."""
    rows = f'.hops-rows[aria-label="{label}"]'

    def is_there() -> bool:
        page.evaluate("selector => { const at = document.querySelector(selector); at.scrollTop = at.scrollHeight }", rows)
        return page.locator(rows).get_by_text(last, exact=True).count() > 0

    wait_until(is_there, deadline_s=120, what=f"{last} at the end of {label}")
    assert page.locator(f"{rows} .hops-row").count() < MOST_ROWS
    assert page.evaluate(COVERED, [rows, 0])
    assert page.evaluate(COVERED, [rows, 20_000])


def test_the_record_is_open_before_anybody_asks(server: Jupyter):
    (known,) = Path(server.env["JUPYTER_RUNTIME_DIR"]).glob("jpserver-*.json")
    process = psutil.Process(int(re.sub(r"\D", "", known.stem)))

    def opens(name: str) -> bool:
        return any(file.path.endswith(name) for file in process.open_files())

    wait_until(lambda: opens("registry.db"), deadline_s=120, what="the registry open")
    wait_until(lambda: opens("features.db"), deadline_s=120, what="the catalog open")


def test_a_thousand_groups_are_listed_to_the_last(page: Page, server: Jupyter):
    opened(page, server, "Features")
    expect(page.locator(".hops-group").first).to_be_visible()
    scrolled_to(page, "group_999", "Feature groups")


def test_a_search_finds_among_ten_thousand_features(page: Page, server: Jupyter):
    opened(page, server, "Features")
    search = page.get_by_role("searchbox")
    search.fill("feature_987_4")
    expect(page.locator(".hops-hit")).to_have_count(1)
    assert page.locator(".hops-hit mark").inner_text() == "feature_987_4"
    search.fill("attendance")
    hits = page.locator('.hops-rows[aria-label="What was found"] .hops-row')
    expect(hits.first).to_have_attribute("aria-setsize", str(SCALE.groups // 50))
    # each of the ten thousand, of which a few are drawn
    search.fill("mean of")
    expect(hits.first).to_contain_text("feature_")
    assert hits.count() < MOST_ROWS


def test_five_thousand_runs_are_listed_sorted_and_found(page: Page, server: Jupyter):
    opened(page, server, "Experiments")
    rows = page.locator(".hops-runline")
    expect(rows.first).to_contain_text(STUDY_NAME)
    expect(rows.nth(1)).to_contain_text(f"train-{SCALE.runs - 1}")
    page.get_by_role("searchbox").fill("train-4321")
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    expect(rows.nth(1)).to_contain_text("train-")
    page.get_by_label("Order").select_option("val_loss")
    # trials are no rows of this list; the study has its best as another metric
    expect(rows.first).to_contain_text("train-")
    scrolled_to(page, STUDY_NAME, "Runs")


def test_a_study_of_a_thousand_trials_opens(page: Page, server: Jupyter):
    opened(page, server, "Experiments")
    page.locator(".hops-runline").get_by_text(STUDY_NAME, exact=True).click()
    detail = page.locator(".hops-detail:visible")
    expect(detail.get_by_text("1000 of 1000 trials").or_(detail.get_by_text("1000 trials")).first).to_be_visible()
    expect(detail.get_by_role("img", name="Curves of 1000 trials")).to_be_visible()
    assert detail.locator("tbody tr").count() < MOST_ROWS


def test_memory_stays_flat_while_a_run_goes_on(page: Page, server: Jupyter):
    run_id = f"{SCALE.runs - 1:012x}"
    opened(page, server, "Experiments")
    expect(page.locator(".hops-runline").first).to_be_visible()
    begin = f"{server.url}/fake-live?run={run_id}&changes={CHANGES}&per_s={CHANGES_PER_S}"
    urllib.request.urlopen(begin).close()
    page.evaluate("id => { void window.jupyterapp.commands.execute('hops-magic:open-detail', { kind: 'run', id }) }", run_id)
    count = page.locator(".hops-metrics div", has=page.get_by_text("count", exact=True)).locator("dd")
    browser = page.context.new_cdp_session(page)

    def heap_at(changes: int) -> int:
        wait_until(
            lambda: count.count() and float(count.inner_text().replace(",", "")) >= changes - 1,
            deadline_s=120,
            what=f"change {changes} on the page",
        )
        browser.send("HeapProfiler.collectGarbage")
        return browser.send("Runtime.getHeapUsage")["usedSize"]

    before = heap_at(CHANGES // 3)
    assert heap_at(CHANGES) - before < MOST_GROWTH_BYTES
