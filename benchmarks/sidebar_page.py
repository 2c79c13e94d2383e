"""What a browser sees of the sidebar: when it is filled, how it scrolls, how long a metric takes, what it remembers."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from browsing import Jupyter, wait_until
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TIMES = 5
SECTIONS = ("Features", "Experiments", "Models", "Cluster")
HOUR = 36_000
UPDATES_PER_S = 400
METRICS, METRIC_EVERY_S = 120, 0.25

# notes when the Lab says that all is restored, and the first frame in which a section has something to show
WATCH = """() => {
  const told = window.hopsTold = { restored: 0, filled: 0 };
  const look = () => {
    if (!told.asked && window.jupyterapp) {
      told.asked = true;
      void window.jupyterapp.restored.then(() => { told.restored = performance.now() });
    }
    if (!told.filled && document.querySelector('.hops-panel :is(.hops-row, .hops-empty)')) {
      told.filled = performance.now();
    }
    if (!told.restored || !told.filled) { requestAnimationFrame(look) }
  };
  requestAnimationFrame(look);
}"""
FIRST = ".hops-panel :is(.hops-row, .hops-empty):visible"
OPEN = "() => { void window.jupyterapp.commands.execute('hops-magic:open-panel') }"
FILLED = """() => new Promise(resolve => {
  const began = performance.now();
  %s
  const look = () => {
    // sections that were left are hidden
    [...document.querySelectorAll('.hops-panel .hops-section :is(.hops-row, .hops-empty)')].some(each => each.offsetParent)
      ? resolve(performance.now() - began) : requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
TYPE = """async ([text, wanted]) => {
  const box = document.querySelector('.hops-panel input[type=search]');
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const began = performance.now();
  set.call(box, text);
  box.dispatchEvent(new Event('input', { bubbles: true }));
  while (document.querySelector('.hops-panel .hops-hit mark')?.innerText !== wanted) {
    await new Promise(resolve => requestAnimationFrame(resolve));
  }
  return performance.now() - began;
}"""
# each step is looked at in the frame that it is painted in
SCROLL = """async ([steps, by]) => {
  const place = document.querySelector('.hops-rows');
  place.scrollTop = 0;
  const gaps = [], blank = [];
  let last = performance.now();
  for (let step = 0; step < steps; step++) {
    place.scrollTop += by;
    const now = await new Promise(resolve => requestAnimationFrame(resolve));
    await new Promise(resolve => { const { port1, port2 } = new MessageChannel();
      port1.onmessage = resolve; port2.postMessage(0) });
    gaps.push(now - last); last = now;
    const { top, bottom } = place.getBoundingClientRect();
    const boxes = [...place.querySelectorAll('.hops-row')].map(row => row.getBoundingClientRect());
    const covered = boxes.length && Math.min(...boxes.map(box => box.top)) <= top
      && Math.max(...boxes.map(box => box.bottom)) >= bottom - 1;
    if (!covered) { blank.push(step) }
  }
  gaps.sort((a, b) => a - b);
  return { median: gaps[Math.floor(gaps.length / 2)], p95: gaps[Math.floor(gaps.length * 0.95)], blank: blank.length };
}"""
NOTE = """name => {
  window.hopsSeen = new Map();
  const look = () => {
    for (const tile of document.querySelectorAll('.hops-detail .hops-metrics div')) {
      if (tile.querySelector('dt')?.title === name) {
        const value = tile.querySelector('dd').innerText;
        if (!window.hopsSeen.has(value)) { requestAnimationFrame(() => {
          if (!window.hopsSeen.has(value)) { window.hopsSeen.set(value, Date.now()) } }) }
      }
    }
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  look();
}"""
TRAIN = f"""
import hops_magic as hops

def train():
    import time
    for step in range({METRICS}):
        hops.report(step=step, said=step)
        time.sleep({METRIC_EVERY_S})

print(hops.train(train, workers=1, framework="none", name="latency", detach=True).run_id, flush=True)
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser: Browser) -> Iterator[Page]:
    """A page that nobody has visited."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def opening(browser: Browser, ours: Jupyter, plain: Jupyter) -> list[list[object]]:
    """Return how long JupyterLab takes until it is restored, with and without the extension, and until ours is filled."""
    with page_of(browser) as page:
        # the panel is open when the layout is restored
        restored(page, f"{ours.url}/lab?reset")
        with page.expect_response(lambda answer: "/api/workspaces/" in answer.url and answer.request.method == "PUT"):
            page.evaluate(OPEN)
    with_it, without, filled = [], [], []
    for _ in range(TIMES):
        with page_of(browser) as page:
            page.add_init_script(f"({WATCH})()")
            page.goto(f"{ours.url}/lab", wait_until="domcontentloaded")
            page.wait_for_function("() => window.hopsTold.restored && window.hopsTold.filled", timeout=120_000)
            told = page.evaluate("() => window.hopsTold")
            with_it.append(told["restored"])
            filled.append(told["filled"])
        with page_of(browser) as page:
            without.append(restored(page, f"{plain.url}/lab"))
    lab, bare = statistics.median(with_it), statistics.median(without)
    return [
        ["opening JupyterLab", "without the extension", _ms(without), _worst(without), "1"],
        ["", "with it", _ms(with_it), _worst(with_it), f"{lab / bare:.2f} x"],
        ["", "until its section is filled", _ms(filled), _worst(filled), f"{statistics.median(filled) / bare:.2f} x"],
    ]


def restored(page: Page, url: str) -> float:
    """Open JupyterLab and return the milliseconds until it says that all is restored."""
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp", timeout=120_000)
    return page.evaluate("() => window.jupyterapp.restored.then(() => performance.now())")


def painting(browser: Browser, server: Jupyter) -> list[list[object]]:
    """Return how long each section takes from the click to its first rows, in pages that have not shown it yet."""
    found: list[list[object]] = []
    for name in SECTIONS:
        taken = []
        for _ in range(TIMES):
            with page_of(browser) as page:
                restored(page, f"{server.url}/lab?reset")
                other = SECTIONS[SECTIONS.index(name) - 1]
                page.evaluate(OPEN)
                page.locator(".hops-sectionlist").get_by_role("tab", name=other, exact=True).click()
                page.locator(FIRST).first.wait_for()
                click = f"document.querySelector('#hops-section-{name.lower()}').click();"
                # the click's own state is applied at once, so that what is found then is the new section's
                taken.append(page.evaluate(FILLED % click))
        found.append([f"first paint of {name}", "ours", _ms(taken), _worst(taken), ""])
    return found


def typing(browser: Browser, server: Jupyter) -> list[list[object]]:
    """Return how long a search takes from the keystroke to the marked hit on the page."""
    taken = []
    with page_of(browser) as page:
        _features(page, server)
        for number in range(20):
            text = f"feature_{37 * number % 1_000}_"
            taken.append(page.evaluate(TYPE, [text, text]))
    return [["search as you type, keystroke to pixel", "ours", _ms(taken), _worst(taken), ""]]


def scrolling(browser: Browser, server: Jupyter) -> list[list[object]]:
    """Return the frames of scrolling through all that a search for one letter finds."""
    with page_of(browser) as page:
        _features(page, server)
        page.evaluate(TYPE, ["feature", "feature"])
        end = "() => { const at = document.querySelector('.hops-rows'); at.scrollTop = at.scrollHeight }"
        size = "() => Number(document.querySelector('.hops-row').ariaSetSize)"

        def is_all() -> bool:
            page.evaluate(end)
            return page.evaluate(size) >= 10_000

        wait_until(is_all, deadline_s=300, what="10,000 rows")
        slow = page.evaluate(SCROLL, [300, 120])
        fast = page.evaluate(SCROLL, [300, 1_300])
    return [
        [f"scrolling 10,000 rows, {how}", f"{told['blank']} blank of 300 frames", *_frames(told), ""]
        for how, told in (("3 rows a frame", slow), ("a page and a half a frame", fast))
    ]


def loading(browser: Browser, server: Jupyter) -> list[list[object]]:
    """Return what the extension loads when JupyterLab starts, and when its details are opened."""
    with page_of(browser) as page:
        restored(page, f"{server.url}/lab?reset")
        page.evaluate(OPEN)
        page.locator(FIRST).first.wait_for()
        names = "() => performance.getEntriesByType('resource').map(each => each.name)"
        loaded = [url for url in page.evaluate(names) if "/extensions/hops-magic/" in url]
    whole = gzipped = 0
    for url in loaded:
        with urllib.request.urlopen(url) as answer:
            text = answer.read()
        whole, gzipped = whole + len(text), gzipped + len(gzip.compress(text))
    return [["loaded at start", f"{len(loaded)} files", f"{whole / 1_000:.0f} kB", f"{gzipped / 1_000:.0f} kB gzipped", ""]]


def living(browser: Browser, server: Jupyter) -> list[list[object]]:
    """Return how long a metric of a run on a cluster takes from the rank to the screen."""
    from hops_magic.engine.journal import read_journal
    from hops_magic.runs.events import Metrics
    from hops_magic.settings import Settings

    with page_of(browser) as page:
        restored(page, f"{server.url}/lab?reset")
        began = subprocess.run(
            [sys.executable, "-c", TRAIN], env=server.env, timeout=300, check=True, capture_output=True, text=True
        )
        run_id = began.stdout.split()[-1]
        open_detail(page, run_id)
        page.evaluate(NOTE, "said")
        wait_until(
            lambda: str(METRICS - 1) in page.evaluate("() => [...window.hopsSeen.keys()]"),
            deadline_s=300,
            what="the last metric on the page",
        )
        seen = dict(page.evaluate("() => [...window.hopsSeen]"))
    journal = read_journal(Settings.from_environment(server.env).runs / run_id)
    said = {str(event.step): 1_000 * event.at for event in journal if isinstance(event, Metrics)}
    # the page was opened in the middle of the run: what it caught up with is no event
    first = min(int(value) for value in seen)
    late = sorted(seen[value] - said[value] for value in seen if int(value) > first + 2)
    return [
        ["metric of a live run, event to pixel", f"{len(late)} metrics", _ms(late), f"{_p95(late):.0f} ms (p95)", ""],
    ]


def remembering(browser: Browser, server: Jupyter, run_id: str) -> list[list[object]]:
    """Return what page and server hold in an hour of changes, which are pushed faster than they would come."""
    with page_of(browser) as page:
        restored(page, f"{server.url}/lab?reset")
        page.evaluate(OPEN)
        page.locator(".hops-sectionlist").get_by_role("tab", name="Experiments", exact=True).click()
        asked = f"{server.url}/fake-live?run={run_id}"
        urllib.request.urlopen(f"{asked}&changes={HOUR}&per_s={UPDATES_PER_S}").close()
        open_detail(page, run_id)
        session = page.context.new_cdp_session(page)
        heap, memory = [], []
        for part in range(1, 7):
            wait_until(
                lambda part=part: json.load(urllib.request.urlopen(asked))["said"] >= part * HOUR // 6,
                deadline_s=1_200,
                what="changes said",
            )
            session.send("HeapProfiler.collectGarbage")
            heap.append(session.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
            memory.append(_resident_mb(server))
    return [
        [f"{HOUR:,} changes, as many as an hour of a live run has", "heap of the page", *_course(heap)],
        ["", "memory of the server", *_course(memory)],
    ]


def open_detail(page: Page, run_id: str) -> None:
    """Open the view of a run and wait until it shows metrics."""
    page.evaluate("id => { void window.jupyterapp.commands.execute('hops-magic:open-detail', { kind: 'run', id }) }", run_id)
    page.locator(".hops-detail .hops-metrics").wait_for(timeout=120_000)


def _features(page: Page, server: Jupyter) -> None:
    restored(page, f"{server.url}/lab?reset")
    page.evaluate(OPEN)
    page.locator(".hops-sectionlist").get_by_role("tab", name="Features", exact=True).click()
    page.locator(".hops-group").first.wait_for()


def _resident_mb(server: Jupyter) -> float:
    (known,) = Path(server.env["JUPYTER_RUNTIME_DIR"]).glob("jpserver-*.json")
    pages = Path(f"/proc/{re.sub(r'[^0-9]', '', known.stem)}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _course(values: list[float]) -> tuple[str, str, str]:
    return f"{values[0]:.0f} MB after a sixth", f"{values[-1]:.0f} MB at the end", f"{values[-1] / values[0]:.2f} x"


def _frames(told: dict[str, float]) -> tuple[str, str]:
    return f"{told['median']:.0f} ms a frame", f"{told['p95']:.0f} ms (p95)"


def _ms(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ms"


def _worst(values: list[float]) -> str:
    return f"{max(values):.0f} ms"


def _p95(ordered: list[float]) -> float:
    return ordered[int(0.95 * len(ordered))]
