"""A home of the size at which lists are tested and measured: thousands of features and runs, a study of many trials.

Rows are written into the tables of the catalog and the registry as their own writers write them, many at once.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hops_magic.engine.journal import Journal
from hops_magic.features.model import Column, Commit, Group, Operation
from hops_magic.features.store import FeatureStore
from hops_magic.registry import RunKind, RunRecord
from hops_magic.registry.beginning import experiment_of, params_of, start_tags
from hops_magic.registry.bulk import FinishedRun, write_many
from hops_magic.registry.ending import end_tags
from hops_magic.registry.rows import MetricSummary, Row
from hops_magic.registry.store import Store
from hops_magic.registry.study_recorder import StudyRecorderSpec
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Study, advance_study_all
from hops_magic.settings import FeatureSettings, Settings

START = 1_790_000_000.0
STUDY_ID, STUDY_NAME = "cccc00000001", "large"
AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything."""

    groups: int = 1_000
    columns: int = 10
    runs: int = 5_000
    steps: int = 20
    trials: int = 1_000
    reports: int = 100


def seed_at_scale(home: Path, scale: Scale) -> None:
    """Fill an empty home."""
    environment = {"HOPS_HOME": str(home)}
    many_groups(FeatureStore(FeatureSettings.from_environment(environment)), scale.groups, scale.columns)
    settings = Settings.from_environment(environment)
    many_runs(settings, scale.runs, scale.steps)
    large_study(settings, scale.trials, scale.reports)


def many_groups(store: FeatureStore, groups: int, columns: int) -> None:
    """Enter groups into a catalog: one in fifty is of matches, the others of statistics; there are no rows in the lake."""
    now = datetime.datetime.now(datetime.UTC)
    for number in range(groups):
        features = [
            Column(name=f"feature_{number}_{each}", type="double", description="mean of a week") for each in range(columns)
        ]
        group = Group(
            name=f"group_{number}",
            version=1,
            columns=(Column(name="id", type="int64"), *features),
            primary_key=("id",),
            location="file:///none",
            description="attendance of matches" if number % 50 == 0 else "statistics",
            created_at=now,
            updated_at=now,
        )
        store.catalog.add(group, Commit(number=0, at=now, author="", operation=Operation.CREATE))


def many_runs(settings: Settings, count: int, steps: int) -> None:
    """Record runs that have ended, a minute apart, in ten experiments; ``train-7`` has the eighth-oldest start."""
    store = Store(settings)
    random = np.random.default_rng(7)
    experiments = [(name, experiment_of(store, name)) for name in (f"series-{number}" for number in range(10))]
    for name, experiment_id in experiments:
        chosen = [number for number in range(count) if f"series-{number % 10}" == name]
        for first in range(0, len(chosen), AT_ONCE):
            some = chosen[first : first + AT_ONCE]
            write_many(store, experiment_id, [_finished(number, name, steps, random) for number in some])
    store.analyze()


def _finished(number: int, experiment: str, steps: int, random: np.random.Generator) -> FinishedRun:
    began = START + 60 * number
    record = RunRecord(
        run_id=f"{number:012x}",
        name=f"train-{number}",
        experiment=experiment,
        source="",
        created_at=began,
        notebook=f"notebook-{number % 40}.ipynb",
        options={"workers": 2, "epochs": steps},
        params={"lr": float(f"{10 ** random.uniform(-5, 0):.3g}"), "units": int(random.choice([16, 32, 64]))},
        user="somebody",
    )
    losses = 0.05 + random.uniform(0, 0.3) + np.exp(-random.uniform(0.05, 0.4) * np.arange(1, steps + 1))
    state = RunState.FAILED if number % 29 == 17 else RunState.DONE
    summary = MetricSummary(name="val_loss")
    rows: list[Row] = []
    for step, loss in enumerate(losses.tolist(), 1):
        summary.add(loss)
        values = {"val_loss": loss, "loss": 0.9 * loss, "accuracy": math.exp(-loss)}
        rows += [Row(name, value, int(1000 * (began + step)), step) for name, value in values.items()]
    run = Run(run_id=record.run_id, state=state, started_at=began + 1, ended_at=began + 1 + steps)
    return FinishedRun(
        name=record.name,
        status="FAILED" if state is RunState.FAILED else "FINISHED",
        started_ms=int(1000 * began),
        ended_ms=int(1000 * (began + 1 + steps)),
        user=record.user,
        params=params_of(record),
        tags={**start_tags(record, None), **end_tags(run), "hops.curve": summary.as_tag()},
        metrics=rows,
    )


def large_study(settings: Settings, trials: int, reports: int) -> None:
    """Record a study, newer than all runs, with its journal."""
    began = START + 10_000_000
    beginning = Study(
        run_id=STUDY_ID,
        name=STUDY_NAME,
        experiment="series-0",
        metric="val_loss",
        trials_wanted=trials,
        names=("lr", "units"),
        log_names=("lr",),
        created_at=began,
    )
    description = {
        "name": STUDY_NAME,
        "experiment": "series-0",
        "metric": "val_loss",
        "direction": "minimize",
        "names": ["lr", "units"],
        "log_names": ["lr"],
    }
    record = RunRecord(
        run_id=STUDY_ID, name=STUDY_NAME, experiment="series-0", source="lr * units\n", created_at=began, kind=RunKind.STUDY
    )
    spec = StudyRecorderSpec(settings=settings, record=record, beginning=beginning, description=description)
    journal = Journal(settings.runs / STUDY_ID)
    recorder = spec(settings.runs / STUDY_ID)
    study = beginning
    for batch in study_events(trials, reports, began):
        journal.write([ev.to_wire(event) for event in batch])
        recorder.events(batch)
        study = advance_study_all(study, batch)
    journal.close()
    recorder.finish(study)


def study_events(trials: int, reports: int, began: float, places: int = 100) -> Iterator[list[ev.Event]]:
    """Yield what a study says: its trials in waves of so many, each with all of its reports."""
    random = np.random.default_rng(3)
    yield [
        ev.StateChanged(at=began, state=RunState.RUNNING),
        ev.Places(at=began, held=places, wanted=places),
    ]
    for first in range(0, trials, places):
        at = began + 10 * first
        wave = range(first, min(first + places, trials))
        values = {number: {"lr": 10 ** random.uniform(-5, 0), "units": int(random.choice([16, 32]))} for number in wave}
        yield [
            ev.TrialStarted(at=at, trial=number, values=values[number], point=values[number], place="tls://w:1")
            for number in wave
        ]
        curves = {number: _curve(values[number], reports, random) for number in wave}
        for step in range(reports):
            yield [
                ev.TrialReported(at=at + step, trial=number, step=step + 1, values={"val_loss": curves[number][step]})
                for number in wave
            ]
        yield [
            ev.TrialEnded(at=at + reports, trial=number, state=TrialState.DONE, value=curves[number][-1]) for number in wave
        ]
    yield [ev.StateChanged(at=began + 10 * trials + reports, state=RunState.DONE)]


def _curve(values: Mapping[str, float], reports: int, random: np.random.Generator) -> list[float]:
    distance = abs(math.log10(values["lr"]) + 2.5)
    course = 0.05 + 0.02 * distance + np.exp(-0.3 / (1 + distance) * np.arange(1, reports + 1))
    return (course + random.normal(0, 0.004, reports)).tolist()
