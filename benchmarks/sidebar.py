"""The sidebar of somebody with 10,000 features, 5,000 runs and a study of 1,000 trials: time, size and memory."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from browsing import add_server_extension, running_jupyter
from seeding_at_scale import Scale, seed_at_scale

from benchmarks import sidebar_lists, sidebar_page
from benchmarks.table import Table

SCALE = Scale()


def table() -> Table:
    with tempfile.TemporaryDirectory() as folder:
        home, bare = Path(folder) / "ours", Path(folder) / "bare"
        for each in (home, bare):
            each.mkdir()
        seed_at_scale(home / "hops", SCALE)
        add_server_extension(home, Path(__file__).parents[1] / "tests" / "ui" / "fake_live.py")
        config = bare / "config" / "labconfig"
        config.mkdir(parents=True)
        (config / "page_config.json").write_text(json.dumps({"disabledExtensions": {"hops-magic": True}}))
        return table_of(_rows(home, bare))


def table_of(rows: list[list[object]]) -> Table:
    return Table(
        "The sidebar at scale",
        f"{SCALE.groups * SCALE.columns:,} features in {SCALE.groups:,} groups, {SCALE.runs:,} runs, a study of "
        f"{SCALE.trials:,} trials of {SCALE.reports} reports; JupyterLab in Chromium on the same machine, pages that nobody "
        "has visited. Lists: in turns with MLflow's own server, on the same store. Aims: first paint of a section under "
        "1,000 ms, search under 100 ms, a metric's way to the screen under 300 ms, 500 kB gzipped at start, memory flat.",
        ["what", "how", "median", "worst", "ratio"],
        rows,
    )


def _rows(home: Path, bare: Path) -> list[list[object]]:
    run_id = f"{SCALE.runs - 1:012x}"
    with running_jupyter(home) as server, running_jupyter(bare) as plain, sidebar_page.chromium() as browser:
        api = f"{server.url}/hops/api/v1"
        return [
            *sidebar_page.opening(browser, server, plain),
            *sidebar_page.painting(browser, server),
            *sidebar_page.loading(browser, server),
            *sidebar_lists.sizes(api),
            *sidebar_lists.rows(api, home),
            *sidebar_page.typing(browser, server),
            *sidebar_page.scrolling(browser, server),
            *sidebar_page.living(browser, server),
            *sidebar_page.remembering(browser, server, run_id),
        ]


if __name__ == "__main__":
    print(table().markdown())
