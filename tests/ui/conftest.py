"""A JupyterLab server, which also serves Notebook 7 and voila, and a browser: Debian's chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import KERNEL_READY, Jupyter, running_jupyter, visit, write_notebook
from playwright.sync_api import ConsoleMessage, Page, expect

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
# voila's page asks the network for icons and formulas, and loads extensions of others, which it cannot serve
FOREIGN_ERRORS = ("cdn.jsdelivr.net", "cdnjs.cloudflare.com", "@jupyterlab/docregistry", "@jupyterlab/filebrowser")

# a loaded machine takes its time; what never comes still fails
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    chromium = os.environ.get("HOPS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "the browser tests need chromium: apt-get install chromium"
    return {**browser_type_launch_args, "executable_path": chromium, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory) -> Iterator[Jupyter]:
    with running_jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        for name in ("fake_feed.py", "fake_study.py"):
            shutil.copy(Path(__file__).with_name(name), server.root)
        yield server


@pytest.fixture
def open_notebook(jupyter: Jupyter, page: Page, console_errors: list[str]) -> Callable[..., Path]:
    """Write a notebook, open it in JupyterLab or Notebook 7, and wait for its kernel."""

    def go(name: str, cells: list[str], *, at: str = "lab/tree") -> Path:
        path = write_notebook(jupyter, name, cells)
        visit(page, jupyter, name, at=at)
        page.evaluate(KERNEL_READY)
        # what Notebook 7 complains about while it starts is its own affair
        console_errors.clear()
        return path

    return go


@pytest.fixture(autouse=True)
def console_errors(page: Page) -> Iterator[list[str]]:
    """What pages complained about: nothing, by the end of each test."""
    said: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(word in text for word in FOREIGN_ERRORS):
            said.append(text)

    page.on("console", listen)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield said
    assert not said, said
