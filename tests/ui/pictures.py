"""Pictures of every screen, to be looked at: ``make pictures``, or by hand with ``--home FOLDER`` and ``--only WORD``.

A real JupyterLab runs the examples on a real cluster; then each screen is taken in both themes, at two widths of the page,
sections of the sidebar also narrow and wide. A home that is named is kept, and what ran in it is not run again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from browsing import KERNEL_READY, RUN_ALL, SAVE, Jupyter, running_jupyter, visit, write_notebook
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
EXAMPLES = ("01-train.ipynb", "02-tune.ipynb", "03-features.ipynb")
THEMES = ("Light", "Dark")
WIDTHS = (1440, 1024)
HEIGHT = 900
NARROW, WIDE = 250, 480
SECTIONS = ("Features", "Experiments", "Models", "Cluster")
PATIENCE_MS = 600_000
LIVE = "more.ipynb"
MORE = [
    "%load_ext hops_magic",
    """import keras
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
images = images.astype("float32") / 16
use_norm = True""",
    """%%distributed -n 2 --name digits --seed 8
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10, "softmax")])
model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(images, labels, epochs=20, batch_size=128, validation_split=0.1, verbose=2)""",
    """%%ablate --minimize val_loss --repeats 2 --layers hidden_2,noise --flags use_norm --name worth
layers = [keras.layers.Dense(64, "relu", name="hidden_1"), keras.layers.Dense(32, "relu", name="hidden_2")]
layers += [keras.layers.BatchNormalization()] if use_norm else []
layers += [keras.layers.GaussianNoise(0.1, name="noise"), keras.layers.Dense(10, "softmax")]
model = keras.Sequential([keras.Input((64,)), *layers])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(images, labels, epochs=3, validation_split=0.2, verbose=0)""",
    """%%distributed -n 2 --name broken-shapes
model.fit(images, labels[:-1], epochs=2)""",
    """%%tune --trials 12 --minimize loss --name slow --framework none rate=loguniform(1e-3, 1) kind=choice(["a", "b"])
import time

for step in range(400):
    hops.report(step=step, loss=1 / (1 + step * rate) + (kind == "a") / 10)
    time.sleep(0.3)""",
]


@dataclass
class Camera:
    """Takes pictures of a page into a folder; those whose name does not hold the word are left out."""

    page: Page
    folder: Path
    word: str
    suffix: str = ""
    taken: list[str] = field(default_factory=list)

    def take(self, name: str) -> None:
        if self.word in name:
            # charts are drawn a frame after their data
            self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            self.page.screenshot(path=self.folder / f"{name}{self.suffix}.png", animations="disabled")
            self.taken.append(name)


def execute(page: Page, command: str, **args: object) -> None:
    page.evaluate("([command, args]) => { void window.jupyterapp.commands.execute(command, args) }", [command, args])


def dress(page: Page, theme: str) -> None:
    execute(page, "apputils:change-theme", theme=f"JupyterLab {theme}")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "true" if theme == "Light" else "false")


def show_section(page: Page, name: str) -> None:
    page.locator(".hops-sectionlist").get_by_role("tab", name=name, exact=True).click()
    expect(page.locator(".hops-sectionplace:not([hidden])").get_by_text("Loading…")).to_have_count(0)


def widen(page: Page, width: int) -> None:
    """Drag the sidebar's edge as a user does."""
    box = page.locator("#hops-panel").bounding_box()
    assert box
    edge = box["x"] + box["width"] + 1
    page.mouse.move(edge, 500)
    page.mouse.down()
    page.mouse.move(box["x"] + width, 500, steps=4)
    page.mouse.up()


def run_notebook(page: Page, jupyter: Jupyter, name: str, *, cells: int, during: Callable[[], None] | None = None) -> None:
    """Run all cells, and wait until a number of them have ended."""
    visit(page, jupyter, name)
    page.evaluate(KERNEL_READY)
    page.evaluate(RUN_ALL)
    if during:
        during()
    prompt = page.locator(".jp-NotebookPanel:visible .jp-CodeCell .jp-InputArea-prompt").nth(cells - 1)
    expect(prompt).to_have_text(f"[{cells}]:", timeout=PATIENCE_MS)
    page.evaluate(SAVE)


def fill(page: Page, jupyter: Jupyter, camera: Camera) -> None:
    """Run the examples, which leave some of everything."""
    for name in EXAMPLES:
        shutil.copy(ROOT / "examples" / name, jupyter.root)

    def training() -> None:
        view = page.locator(".hops-run").last
        expect(view.locator(".hops-plot canvas").first).to_be_visible(timeout=PATIENCE_MS)
        view.scroll_into_view_if_needed()
        camera.take("notebook-run-running")

    def tuning() -> None:
        view = page.locator(".hops-study")
        expect(view.locator(".hops-trials")).to_be_visible(timeout=PATIENCE_MS)
        view.scroll_into_view_if_needed()
        camera.take("notebook-study-running")

    run_notebook(page, jupyter, EXAMPLES[0], cells=12, during=training)
    run_notebook(page, jupyter, EXAMPLES[1], cells=9, during=tuning)
    run_notebook(page, jupyter, EXAMPLES[2], cells=18)


def begin(page: Page, jupyter: Jupyter) -> None:
    """Leave a study running, and a run that waits behind it."""
    write_notebook(jupyter, LIVE, MORE)
    visit(page, jupyter, LIVE)
    page.evaluate(KERNEL_READY)
    page.evaluate(RUN_ALL)
    # the run that fails ends the running of all cells
    failed = page.locator(".jp-NotebookPanel:visible .jp-CodeCell .jp-InputArea-prompt").nth(4)
    expect(failed).to_have_text("[5]:", timeout=PATIENCE_MS)
    execute(page, "notebook:move-cursor-down")
    page.locator(".jp-NotebookPanel:visible .jp-CodeCell").nth(5).locator(".cm-content").click()
    execute(page, "notebook:run-cell")
    expect(page.locator(".hops-study").last.locator(".hops-trials")).to_be_visible(timeout=PATIENCE_MS)
    page.evaluate(SAVE)


def outputs_of(page: Page) -> Iterator[tuple[str, Locator]]:
    """Outputs of the notebook that is shown, by the first words of their cells."""
    cells = page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
    for number in range(cells.count()):
        cell = cells.nth(number)
        cell.scroll_into_view_if_needed()
        output = cell.locator(".jp-OutputArea-output").first
        # outputs are drawn when they come near
        cell.evaluate("node => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if output.count():
            yield f"{number + 1:02}", output


def photograph_outputs(page: Page, jupyter: Jupyter, camera: Camera) -> None:
    for name in (*EXAMPLES, LIVE):
        visit(page, jupyter, name)
        dress(page, camera.suffix.split("-")[1])
        for number, output in outputs_of(page):
            output.evaluate("node => node.scrollIntoView({ block: 'start' })")
            if output.locator(".hops-loading").count():
                expect(output.locator(".hops-loading")).to_have_count(0)
            camera.take(f"output-{name.removesuffix('.ipynb')}-{number}")


def photograph_sections(page: Page, camera: Camera) -> None:
    suffix = camera.suffix
    for width in (NARROW, WIDE):
        widen(page, width)
        camera.suffix = f"{suffix}-{'narrow' if width == NARROW else 'wide'}"
        for name in SECTIONS:
            show_section(page, name)
            camera.take(f"section-{name.lower()}")
        show_section(page, "Features")
        group = page.get_by_role("button", name="Features of weather")
        if group.get_attribute("aria-expanded") != "true":
            group.click()
        page.get_by_role("checkbox", name="Choose weather.temp", exact=True).check()
        camera.take("section-features-opened")
        page.get_by_role("searchbox").fill("wind")
        expect(page.locator(".hops-hit").first).to_be_visible()
        camera.take("section-features-searched")
        page.get_by_role("searchbox").fill("")
        page.get_by_role("button", name="Clear").click()
        show_section(page, "Experiments")
        page.locator(".hops-columns summary").click()
        camera.take("section-experiments-columns")
        page.locator(".hops-columns summary").click()
    camera.suffix = suffix


def photograph_tabs(page: Page, camera: Camera, name: str) -> None:
    detail = page.locator(".hops-detail:visible")
    expect(detail).to_be_visible()
    tabs = detail.get_by_role("tablist").first.get_by_role("tab")
    expect(tabs.first).to_be_visible()
    for tab in tabs.all():
        tab.click()
        expect(detail.get_by_text("Loading…")).to_have_count(0)
        camera.take(f"{name}-{(tab.text_content() or '').lower().replace(' ', '-')}")


def photograph_details(page: Page, camera: Camera) -> None:
    show_section(page, "Features")
    for group in ("weather", "flights"):
        execute(page, "hops-magic:open-detail", kind="group", id=f"{group}@1")
        expect(page.locator(".hops-detail:visible").get_by_role("heading", name=group)).to_be_visible()
        photograph_tabs(page, camera, f"group-{group}")
    execute(page, "hops-magic:open-detail", kind="dataset", id="delays@1")
    expect(page.locator(".hops-detail:visible").get_by_role("heading", name="delays")).to_be_visible()
    photograph_tabs(page, camera, "dataset")
    show_section(page, "Models")
    for model in ("digits", "delays"):
        page.locator(".hops-panel .hops-group").get_by_text(model, exact=True).click()
        expect(page.locator(".hops-detail:visible").get_by_role("heading", name=model)).to_be_visible()
        photograph_tabs(page, camera, f"model-{model}")
    show_section(page, "Experiments")
    rows = page.locator(".hops-runline")
    for run in ("delays", "broken-shapes", "digits-tuned", "worth", "slow", "digits"):
        row = rows.get_by_text(run, exact=True)
        if not row.count():
            continue
        row.first.click()
        expect(page.locator(".hops-detail:visible").get_by_role("heading", name=run, exact=True)).to_be_visible()
        photograph_tabs(page, camera, f"run-{run}")
    for box in page.get_by_role("checkbox", name="Choose digits for a comparison").all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    photograph_tabs(page, camera, "compare")
    page.get_by_role("button", name="Clear").click()


def photograph(browser: Browser, jupyter: Jupyter, folder: Path, word: str) -> int:
    taken = 0
    for theme in THEMES:
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": HEIGHT})
            camera = Camera(page, folder, word, suffix=f"-{theme}-{width}")
            photograph_outputs(page, jupyter, camera)
            execute(page, "hops-magic:open-panel")
            expect(page.locator("#hops-panel")).to_be_visible()
            photograph_sections(page, camera)
            widen(page, NARROW + 50)
            photograph_details(page, camera)
            taken += len(camera.taken)
            page.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--home", type=Path, help="where Jupyter and what ran have their place; kept")
    parser.add_argument("--still", action="store_true", help="run nothing: what is in the home alone is shown")
    parser.add_argument("--only", default="", help="a word in the names of the pictures that are wanted")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    home = chosen.home or Path(tempfile.mkdtemp(prefix="pictures-"))
    home.mkdir(parents=True, exist_ok=True)
    extensions = home / "share" / "labextensions"
    extensions.mkdir(parents=True, exist_ok=True)
    if not (extensions / "hops-magic").is_symlink():
        (extensions / "hops-magic").symlink_to(ROOT / "hops_magic" / "labextension")
    # what this checkout built, whichever is installed
    os.environ["JUPYTER_PATH"] = str(home / "share")
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright, running_jupyter(home) as jupyter:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTHS[0], "height": HEIGHT})
        if not chosen.still and not (home / "filled").exists():
            fill(page, jupyter, Camera(page, chosen.folder, chosen.only))
            (home / "filled").touch()
        if not chosen.still:
            begin(page, jupyter)
        page.close()
        taken = photograph(browser, jupyter, chosen.folder, chosen.only)
        browser.close()
    sys.stdout.write(f"{taken} pictures in {chosen.folder}\n")
    if not chosen.home:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
