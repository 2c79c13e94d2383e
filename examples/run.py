"""Execute an example notebook in a real kernel and show its output in the terminal while it comes.

Usage: ``python examples/run.py examples/01-train.ipynb [--output FILE]``. The last lines say what was trained, how good it
is, where it is recorded and how to open the notebook.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import hops_magic as hops
from hops_magic.session import session


class Echo(NotebookClient):
    """A notebook client that also writes to the terminal what the cells write."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        kind, content = msg["msg_type"], msg["content"]
        if kind == "execute_input" and not content["code"].startswith("%load_ext"):
            head = content["code"].strip().splitlines()[0]
            print(f"\n\033[2mIn [{content['execution_count']}] {head}\033[0m", flush=True)
        elif kind == "stream":
            print(content["text"], end="", flush=True)
        elif kind in ("execute_result", "display_data"):
            print(content["data"].get("text/plain", ""), flush=True)
        return super().process_message(msg, cell, cell_index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path, help="where the executed notebook goes")
    arguments = parser.parse_args()
    notebook = nbformat.read(arguments.notebook, as_version=4)
    # the kernel's views write lines of text: there is no browser at the other end
    os.environ["HOPS_VIEW"] = "stream"
    client = Echo(notebook, timeout=600, resources={"metadata": {"path": str(arguments.notebook.parent)}})
    with tempfile.TemporaryFile("w+") as errors:
        # the kernel writes there what it has told already, and what it cannot tell
        try:
            client.execute(env={**os.environ, "JPY_SESSION_NAME": str(arguments.notebook.resolve())}, stderr=errors)
        except RuntimeError:  # it did not start, or died
            errors.seek(0)
            sys.stderr.write(errors.read())
            raise
    if arguments.output:
        nbformat.write(notebook, arguments.output)
    last = next(run for run in hops.experiments.runs(limit=10) if run.metrics)
    if last.kind.value == "study":
        trials = hops.experiments.runs(parent=last.run_id, limit=1_000)
        stopped = sum(trial.state.value == "stopped" for trial in trials)
        print(f"\ntuned: {last.name}, study {last.run_id}, {len(trials)} trials, {stopped} of them stopped early")
        for name, value in last.metrics.items():
            print(f"{name.removeprefix('best/')}: {value:.4g} at best")
    else:
        print(f"\ntrained: {last.name}, run {last.run_id}, on {last.params['workers']} ranks")
        for name in ("val_accuracy", "accuracy"):
            if name in last.metrics:
                print(f"{name}: {last.metrics[name]:.1%} after the last epoch")
    print(f"recorded in: {session().settings.shown_tracking_uri}")
    print("see it in JupyterLab, with the sidebar: make lab, then http://localhost:8888/lab")


if __name__ == "__main__":
    main()
