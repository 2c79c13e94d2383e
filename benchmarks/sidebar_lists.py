"""Lists of the REST API beside MLflow's own server on the same store: how long a page of them takes, and how large it is."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import statistics
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PAGE = 100
TIMES = 30
START_S = 120


def rows(api: str, home: Path) -> list[list[object]]:
    """Return the rows of runs in turns with MLflow's server, then of features."""
    found: list[list[object]] = []
    with mlflow_server(home / "hops" / "registry.db", home / "mlflow.log") as server:
        theirs = f"{server}/api/2.0/mlflow"
        wanted = {"max_results": 1000}
        known = _posted(f"{theirs}/experiments/search", wanted)["experiments"]
        everywhere = [each["experiment_id"] for each in known]
        for title, query, order, condition in (
            ("newest runs", {"sort": "-started"}, "attributes.start_time DESC", ""),
            ("runs by a metric", {"sort": "val_loss"}, "metrics.val_loss ASC", ""),
            (
                "runs with a text",
                {"text": "train-42"},
                "attributes.start_time DESC",
                "attributes.run_name ILIKE '%train-42%'",
            ),
        ):
            body = {"experiment_ids": everywhere, "order_by": [order], "filter": condition, "max_results": PAGE}
            mine, rival = _in_turns(
                lambda query=query: _got(f"{api}/runs?{urllib.parse.urlencode({**query, 'limit': PAGE})}"),
                lambda body=body: len(json.dumps(_posted(f"{theirs}/runs/search", body)["runs"])),
            )
            found += [
                [f"{PAGE} {title}", "ours", *_figures(mine), f"{_median(mine) / _median(rival):.2f} x"],
                ["", "`mlflow server`", *_figures(rival), "1"],
            ]
    for title, address in (
        (f"{PAGE} groups", f"/groups?limit={PAGE}"),
        ("search for one letter, 10,000 hits", f"/search?text=f&limit={PAGE}"),
        ("search for a word, 20 hits", f"/search?text=attend&limit={PAGE}"),
    ):
        (alone,) = _in_turns(lambda address=address: _got(api + address))
        found.append([title, "ours", *_figures(alone), ""])
    return found


def sizes(api: str) -> list[list[object]]:
    """Return how large the first page of each section is."""
    found: list[list[object]] = []
    for title, address in (("features", f"/groups?limit={PAGE}"), ("experiments", f"/runs?limit={PAGE}")):
        with urllib.request.urlopen(api + address) as answer:
            page = answer.read()
        kilo = f"{len(page) / 1_000:.0f} kB"
        found.append([f"first page of {title}", "ours", kilo, f"{len(gzip.compress(page)) / 1_000:.0f} kB gzipped", ""])
    return found


@contextlib.contextmanager
def mlflow_server(database: Path, log: Path) -> Iterator[str]:
    """MLflow's own server on a store, without the workers of its periodic jobs."""
    program = Path(".venv-bench/bin/mlflow").absolute()
    command = [str(program), "server", "--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1", "--port", "0"]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--workers", "1"], stdout=file, stderr=file, env=env, cwd=log.parent, start_new_session=True
        )
    try:
        ends = time.monotonic() + START_S
        while not (found := re.search(r"running on (http://\S+)", log.read_text())):
            if time.monotonic() > ends or server.poll() is not None:
                raise RuntimeError(f"MLflow's server did not start: {log.read_text()[-2_000:]}")
            time.sleep(0.1)
        yield found[1]
    finally:
        # its workers are processes of its group
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _in_turns(*ask: Callable[[], object]) -> list[list[float]]:
    """Return the milliseconds of each, sorted; the first questions, which compile queries, are left out."""
    taken: list[list[float]] = [[] for _ in ask]
    for number in range(TIMES + 2):
        for each, times in zip(ask, taken, strict=True):
            began = time.perf_counter()
            each()
            if number >= 2:
                times.append(1_000 * (time.perf_counter() - began))
    return [sorted(times) for times in taken]


def _figures(ordered: list[float]) -> tuple[str, str]:
    return f"{_median(ordered):.0f} ms", f"{ordered[int(0.95 * len(ordered))]:.0f} ms (p95)"


def _median(ordered: list[float]) -> float:
    return statistics.median(ordered)


def _got(address: str) -> int:
    with urllib.request.urlopen(address) as answer:
        return len(answer.read())


def _posted(address: str, body: Mapping[str, object]) -> dict[str, list[dict[str, str]]]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
