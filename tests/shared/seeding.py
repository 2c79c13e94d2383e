"""A home with some of everything: feature groups, a training dataset, runs that read them, a study, models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from recorded_runs import START, epochs, record

from hops_magic.engine.journal import Journal
from hops_magic.features.rules import Rule
from hops_magic.features.store import FeatureStore, request_of
from hops_magic.registry import STUDY_FILE, RunKind, open_registry
from hops_magic.runs.events import StateChanged, to_wire
from hops_magic.runs.inputs import FeatureInput, InputKind
from hops_magic.runs.states import RunState
from hops_magic.settings import FeatureSettings, Settings

HOSTILE = "<img src=x onerror=\"window.hacked='yes'\"> \u202e javascript:alert(1) \x1b[31m"
ROWS = 400


def seed(home: Path) -> None:
    """Fill an empty home; runs are ``good``, ``bad`` and one with a hostile name."""
    environment = {"HOPS_HOME": str(home)}
    _features(FeatureStore(FeatureSettings.from_environment(environment)))
    _runs(Settings.from_environment(environment), home)


def _features(store: FeatureStore) -> None:
    random = np.random.default_rng(7)
    teams = pd.DataFrame(
        {
            "team_id": range(ROWS),
            "wins": random.poisson(5, ROWS),
            "budget": random.lognormal(3, 1, ROWS),
            "city": random.choice(["Oslo", "Bergen", "Paris"], ROWS),
        }
    )
    teams.loc[::10, "budget"] = np.nan
    store.save(teams, "teams", key="team_id", description="weekly statistics of teams", tags=["sport"])
    store.save(teams.head(50).assign(wins=lambda rows: rows.wins + 9), "teams")
    store.edit("teams", rules=[Rule.not_null("budget"), Rule.range("wins", 0, 100)], on_fail="warn")
    store.save(pd.DataFrame({"team_id": range(3), "seats": [10, 20, 30]}), "stadiums", key="team_id", description=HOSTILE)
    store.create_dataset("matches", request_of("teams.wins", "teams.budget"), split={"train": 0.8, "test": 0.2}, seed=1)


def _runs(settings: Settings, home: Path) -> None:
    read = FeatureInput(kind=InputKind.DATASET, name="matches", version=1, features=("wins", "budget"))
    stories = (
        ("aaaa00000001", "good", RunState.DONE, (0.9, 0.5, 0.3), {"lr": "0.01"}),
        ("aaaa00000002", "bad", RunState.FAILED, (0.9, 1.5), {"lr": "10"}),
        ("aaaa00000003", HOSTILE, RunState.STOPPED, (0.7, 0.6), {"lr": "0.1"}),
    )
    for number, (run_id, name, state, losses, params) in enumerate(stories):
        story = epochs(*losses)
        journal = Journal(settings.runs / run_id)
        journal.write([to_wire(event) for event in (*story, StateChanged(at=START + 61, state=state))])
        journal.close()
        record(
            settings,
            run_id,
            story,
            state=state,
            name=name,
            created_at=START + number,
            params=params,
            options={"workers": 2, "name": name},
            inputs=(read,) if name == "good" else (),
        )
    record(settings, "bbbb00000001", [], name="search", kind=RunKind.STUDY, created_at=START + 9)
    description = {
        "name": "search",
        "experiment": "digits",
        "metric": "loss",
        "direction": "minimize",
        "names": ["lr"],
        "log_names": [],
    }
    registry = open_registry(settings)
    study = registry.run("bbbb00000001")
    with registry.artifact(study, "") as folder:
        assert folder is not None
        (folder / STUDY_FILE).write_text(json.dumps(description))
    model = home / "model.keras"
    model.write_text("a model")
    registry.register("good", "digits", model)
    registry.set_alias("digits", "champion", 1)
