"""What browser tests do again and again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect
from waiting import listens, where_it_is

SHOTS = Path(__file__).parents[2] / "test-artifacts" / "ui"
KERNEL_READY = """async () => {
  const context = window.jupyterapp.shell.currentWidget.context;
  await context.ready;
  await context.sessionContext.ready;
  await context.sessionContext.session.kernel.info;
}"""
RUN_ALL = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells') }"
SHUT_DOWN_KERNELS = "() => window.jupyterapp.serviceManager.sessions.shutdownAll()"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"


AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
# the page's own heading and landmark order is not the view's
AXE_RUN = """async place => {
  const rules = { region: { enabled: false } };
  const { violations, passes } = await axe.run(place, { rules });
  if (passes.length < 10) { throw new Error('axe found hardly anything to check'); }
  return violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`);
}"""


@dataclass(frozen=True)
class Jupyter:
    url: str
    root: Path
    env: dict[str, str]


def wait_until(predicate: Callable[[], object], *, deadline_s: float, what: str) -> object:
    ends = time.monotonic() + deadline_s
    while time.monotonic() < ends:
        if value := predicate():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def write_notebook(jupyter: Jupyter, name: str, cells: list[str]) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = jupyter.root / name
    nbformat.write(notebook, path)
    return path


def visit(page: Page, jupyter: Jupyter, name: str, *, at: str = "lab/tree") -> None:
    page.goto(f"{jupyter.url}/{at}/{name}{'?reset' if at.startswith('lab') else ''}", wait_until="domcontentloaded")
    expect(page.locator(".jp-NotebookPanel .jp-CodeCell").first).to_be_visible(timeout=60_000)
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context")


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def accessibility_faults(page: Page, place: str = ".hops-run") -> list[str]:
    """What axe finds wrong with a part of the page: the views of runs, if no other is said."""
    # a notebook's page may define modules its own way; axe then hides from the window
    page.evaluate(
        f"() => {{ const define = window.define; window.define = undefined; {AXE.read_text()}; window.define = define }}"
    )
    return page.evaluate(AXE_RUN, place)


def add_server_extension(home: Path, module: Path) -> None:
    """Let the Jupyter server that will run below a home load a module as an extension."""
    # where the server is started, modules are found
    (home / "root").mkdir(exist_ok=True)
    shutil.copy(module, home / "root")
    folder = home / "config" / "jupyter_server_config.d"
    folder.mkdir(parents=True)
    (folder / f"{module.stem}.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": {module.stem: True}}}))


@contextlib.contextmanager
def running_jupyter(home: Path, port: int = 0) -> Iterator[Jupyter]:
    """A JupyterLab server with folders of its own below a home; clusters of its kernels are gone afterwards."""
    root = home / "root"
    root.mkdir(exist_ok=True)
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    places = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    env = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(home / folder) for name, folder in places.items()},
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "HOPS_HOME": str(home / "hops"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=root)
    try:
        told = home / "runtime" / f"jpserver-{server.pid}.json"
        url = wait_until(lambda: where_it_is(told), deadline_s=60, what="a Jupyter server")
        # it says where it is before it listens
        wait_until(lambda: listens(url), deadline_s=60, what="a Jupyter server that answers")
        yield Jupyter(url, root, env)
    finally:
        # the embedded cluster outlives kernels and servers, by design
        subprocess.run([sys.executable, "-m", "hops_magic", "cluster", "stop", "--force"], env=env, timeout=60, check=True)
        server.terminate()
        server.wait(60)
