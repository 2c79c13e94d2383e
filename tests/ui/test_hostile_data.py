"""Whatever others wrote into names, texts and outputs: it is shown as text, and the layout holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest
from browsing import Jupyter, running_jupyter, shoot
from playwright.sync_api import Page, expect
from recorded_runs import START, epochs, opened

from hops_magic.engine.journal import Journal
from hops_magic.features.rules import Rule
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.registry import STUDY_FILE, RunKind, open_registry
from hops_magic.registry.records import CapturedName
from hops_magic.runs import events as ev
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.settings import FeatureSettings, Settings

EXECUTE = "([command, args]) => { void window.jupyterapp.commands.execute(command, args) }"
FIRST, SECOND, STUDY = "aaaa00000001", "aaaa00000002", "bbbb00000001"
SECTIONS = {"Features": "teams", "Experiments": "study", "Models": "v1", "Cluster": "No cluster is running"}
# a part of a page that reaches beyond its place, and neither scrolls nor is cut
WIDER = """place => {
  const overflowing = [...document.querySelectorAll(place)].filter(node => node.scrollWidth > node.clientWidth + 1);
  return overflowing.map(node => `${node.className} ${node.scrollWidth} > ${node.clientWidth}`);
}"""


def hostile(field: str, length: int = 1500) -> str:
    """A text that runs a script, clicks to one, colours and turns a terminal, and does not end where its field is shown."""
    script = f"<img src=x onerror=\"window['hacked'] = '{field}'\">"
    # what no environment of a process, and no address, can hold
    null = "" if field in ("author", "metric") else "\x00"
    return f"{script} javascript:alert('{field}') \x1b[31m\u202e\u2066\u2028{null} {'w' * length}"


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    with running_jupyter(tmp_path_factory.mktemp("hostile")) as server, pytest.MonkeyPatch.context() as patch:
        # whom commits and records name
        patch.setenv("LOGNAME", hostile("author"))
        patch.setenv("USER", hostile("author"))
        home = {"HOPS_HOME": server.env["HOPS_HOME"]}
        seed_features(FeatureStore(FeatureSettings.from_environment(home)))
        seed_runs(Settings.from_environment(home), Path(server.env["HOPS_HOME"]))
        yield server


def seed_features(store: FeatureStore) -> None:
    column = column_name()
    rows = pd.DataFrame({"team_id": range(30), column: range(30), "city": [hostile("cell")] * 30})
    store.save(
        rows,
        "teams",
        key="team_id",
        description=hostile("description"),
        tags=[hostile("tag", 100)],
        column_descriptions={column: hostile("column's description")},
        source=hostile("source"),
    )
    store.save(rows.head(9).assign(city=hostile("cell two")), "teams", source=hostile("source two"))
    store.edit("teams", rules=[Rule.range(column, 0, 5)], on_fail="warn")
    store.create_dataset(
        "matches",
        request_of("teams.*"),
        split={"train": 0.8, "test": 0.2},
        seed=1,
        description=hostile("dataset's description"),
    )


def seed_runs(settings: Settings, home: Path) -> None:
    metric = hostile("metric", 100)
    read = FeatureInput(kind=InputKind.DATASET, name="matches", version=1, features=(column_name(),))
    for run_id, losses in ((FIRST, (0.9, 0.5)), (SECOND, (0.8, 0.7))):
        story = [
            *epochs(*losses, name=metric),
            ev.Output(at=START + 3, rank=0, stream="stdout", text=hostile("output", 1_000_000) + "\n"),
            ev.Output(at=START + 3, rank=1, stream="stderr", text=f"from rank 1 {hostile('output of rank 1')}\n"),
            ev.Displayed(at=START + 3, rank=0, data={"text/html": hostile("display", 1_000_000), "text/plain": "picture"}),
            ev.Warned(at=START + 3, message=hostile("warning")),
            ev.RankError(
                at=START + 4,
                rank=0,
                name=hostile("error"),
                message=hostile("message"),
                traceback=hostile("traceback", 1_000_000),
            ),
        ]
        keep(
            settings,
            run_id,
            story,
            RunState.FAILED,
            params={hostile("param", 100): hostile(f"param's value {run_id}")},
            options={"workers": 2, "name": hostile("option")},
            captured=(CapturedName(name=hostile("captured"), type=hostile("type"), how=hostile("how")),),
            cluster={"kind": hostile("cluster")},
            packages={hostile("package"): hostile("version")},
            notebook=hostile("notebook"),
            inputs=(read,),
            source=f"{hostile('cell')} {run_id}",
        )
    trials = [
        ev.TrialStarted(at=START + 2, trial=0, values={"lr": 0.1, "kind": hostile("value")}, place=hostile("place")),
        ev.TrialReported(at=START + 3, trial=0, step=1, values={metric: 0.5}),
        ev.TrialEnded(at=START + 4, trial=0, state=TrialState.DONE, value=0.5),
        ev.TrialStarted(at=START + 2, trial=1, values={"lr": 0.2, "kind": "b"}),
        ev.TrialEnded(
            at=START + 4, trial=1, state=TrialState.FAILED, reason=hostile("trial's reason"), error=hostile("trial's error")
        ),
    ]
    keep(settings, STUDY, trials, RunState.DONE, kind=RunKind.STUDY)
    registry = open_registry(settings)
    described = {
        "name": hostile("study"),
        "experiment": "e",
        "metric": metric,
        "direction": "minimize",
        "names": ["lr", "kind"],
    }
    with registry.artifact(registry.run(STUDY), "") as folder:
        assert folder is not None
        (folder / STUDY_FILE).write_text(json.dumps({**described, "log_names": []}))
    model = home / "model.keras"
    model.write_text("a model")
    registry.register(FIRST, model_name(), model)
    registry.set_alias(model_name(), "a" * 60, 1)
    registry._client.update_registered_model(model_name(), description=hostile("model"))


def keep(
    settings: Settings, run_id: str, story: list[ev.Event], state: RunState, source: str = "fit()", **fields: object
) -> None:
    """Record a run with a journal, as its supervisor would."""
    named = {"name": hostile(f"run {run_id}"), "experiment": hostile("experiment", 100), "source": source, **fields}
    recorder = opened(settings, run_id, **named)
    events = [
        ev.StateChanged(at=START + 1, state=RunState.RUNNING),
        *story,
        ev.StateChanged(at=START + 61, state=state, reason=hostile("reason")),
    ]
    # a study's trials have records of their own
    own = [event for event in events if not isinstance(event, (ev.TrialStarted, ev.TrialReported, ev.TrialEnded))]
    recorder.events(own)
    recorder.finish(advance_all(Run(run_id=run_id, name=run_id, world_size=2, created_at=START), own))
    journal = Journal(settings.runs / run_id)
    journal.write([ev.to_wire(event) for event in events])
    journal.close()


def column_name() -> str:
    # what nobody sees, and what a question means, is refused in a column's name
    return "".join(each for each in hostile("column", 100) if each.isprintable() and each not in ".@*")


def model_name() -> str:
    # of letters, digits, spaces and . _ - alone
    return "model " + "w" * 190


def faults(page: Page, name: str, *places: str) -> list[str]:
    """What is wrong with what is shown: something ran, or is wider than its place."""
    expect(page.get_by_text("Loading…").locator("visible=true")).to_have_count(0, timeout=60_000)
    shoot(page, f"hostile-{name}")
    ran = page.evaluate("() => window.hacked ?? null")
    found = [f"something of {ran} ran"] if ran else []
    for place in places:
        found += page.evaluate(WIDER, place)
    return [f"{name}: {each}" for each in found]


def test_what_others_wrote_is_text_everywhere(page: Page, jupyter: Jupyter):
    page.on("dialog", lambda dialog: pytest.fail(f"something asked: {dialog.message}"))
    page.goto(f"{jupyter.url}/lab?reset", wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('hops-magic:open-panel')", timeout=60_000)
    page.evaluate("() => window.jupyterapp.restored")
    execute(page, "hops-magic:open-panel", {})
    panel = page.locator(".hops-panel")
    found: list[str] = []
    for name, text in SECTIONS.items():
        panel.get_by_role("tab", name=name, exact=True).click()
        expect(panel.get_by_role("region", name=name)).to_contain_text(text, timeout=60_000)
        found += faults(
            page, f"section-{name.lower()}", ".hops-panel", ".hops-panel .hops-rows", ".hops-panel .hops-section"
        )
    panel.get_by_role("tab", name="Features", exact=True).click()
    panel.get_by_role("button", name="Features of teams").click()
    expect(panel.locator(".hops-feature")).to_have_count(3)
    found += faults(page, "features-unfolded", ".hops-panel .hops-rows")
    panel.get_by_role("searchbox").fill("onerror")
    expect(panel.locator(".hops-hit").first).to_contain_text("<img")
    found += faults(page, "features-found", ".hops-panel .hops-rows")
    for kind, thing in (
        ("group", "teams@1"),
        ("dataset", "matches@1"),
        ("run", FIRST),
        ("study", STUDY),
        ("compare", f"{FIRST},{SECOND}"),
        ("model", model_name()),
        ("lineage", f"run:{FIRST}"),
    ):
        execute(page, "hops-magic:open-detail", {"kind": kind, "id": thing})
        detail = page.locator(".hops-detail-widget:visible")
        expect(detail).to_contain_text("w" * 50, timeout=30_000)
        tabs = detail.locator(".hops-pagelist").get_by_role("tab")
        for index in range(tabs.count()):
            tabs.nth(index).click()
            found += faults(page, f"{kind}-{index}", ".hops-detail-widget")
        if not tabs.count():
            found += faults(page, kind, ".hops-detail-widget")
        if kind == "run":
            detail.get_by_role("tab", name="Output").click()
            detail.locator(".hops-field select").select_option("1")
            expect(detail.get_by_label("Output of rank 1")).to_contain_text("from rank 1 <img")
        if kind == "study":
            detail.get_by_role("tab", name="Trials").click()
            detail.locator("tbody tr").nth(1).click()
            found += faults(page, "study-trial", ".hops-detail-widget")
    assert found == []


def execute(page: Page, command: str, args: Mapping[str, object]) -> None:
    page.evaluate(EXECUTE, [command, dict(args)])
