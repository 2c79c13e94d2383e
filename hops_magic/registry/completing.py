"""Completes the record of a run or study that has ended while the registry could not be written, or whose writer died.

What is missing comes from the run's journal; how the run ended, from there or from the summary that its cluster still has.
Several processes may come upon the same record: one of them completes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hops_magic.engine.journal import JOURNAL_NAME, Journal, read_journal
from hops_magic.errors import RegistryError
from hops_magic.registry import layout
from hops_magic.registry.beginning import begin, find_run
from hops_magic.registry.bulk import points_of
from hops_magic.registry.infos import RunInfo
from hops_magic.registry.laid_down import Beginning, take_up
from hops_magic.registry.recorder import Recorder
from hops_magic.registry.records import RunKind, RunRecord
from hops_magic.registry.registry import Registry
from hops_magic.registry.rows import MetricRows
from hops_magic.registry.study_recorder import StudyRecorder, begin_study
from hops_magic.registry.writing import ending_lock
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState, TrialState
from hops_magic.runs.study import Direction, Study, Trial, recalled


@dataclass(frozen=True)
class Story:
    """What is known of a run beside its record: all that was said, as far as it was kept, and how it stands.

    Attributes
    ----------
    cut_off : frozenset of int
        Trials that ran when their study's cluster was lost. The log leaves them open: who goes on with it begins them again.
    """

    events: Sequence[ev.Event]
    summary: Run | Study
    cut_off: frozenset[int] = frozenset()


def begin_again(registry: Registry, beginning: Beginning) -> None:
    """Write what a record begins with, where the writer died before all of it was written.

    Raises
    ------
    RegistryError
        If the registry still cannot be written, or somebody else is at it.
    """
    record, store = beginning.record, registry.store
    folder = registry.settings.runs / record.run_id
    with ending_lock(folder, 0.0):
        with store.failures(f"recording {record.name}"):
            existing = find_run(store.client, record.run_id)
        if record.kind is RunKind.STUDY:
            study = Study(
                run_id=record.run_id,
                metric=str(beginning.description.get("metric", "")),
                direction=Direction(beginning.description.get("direction", "minimize")),
                is_ablation=bool(beginning.description.get("is_ablation")),
            )
            begin_study(store, record, beginning.environment, study, beginning.description, existing)
        else:
            begin(store, record, beginning.environment, existing)
        take_up(folder)


def story_of(registry: Registry, info: RunInfo, known: Run | Study | None = None) -> Story:
    """Return what was said of a run, by its journal on this machine, and its summary.

    Parameters
    ----------
    known
        The summary that a cluster has, which counts where it has come further than the journal.
    """
    folder = registry.settings.runs / info.run_id
    events = list(read_journal(folder)) if (folder / JOURNAL_NAME).is_file() else []
    if info.kind is RunKind.STUDY:
        return Story(events, _study(registry, info, events, known if isinstance(known, Study) else None))
    if isinstance(known, Run) and known.state.is_final:
        return Story(events, known)
    beginning = Run(run_id=info.run_id, name=info.name, experiment=info.experiment, created_at=info.created_at)
    beginning = replace(beginning, world_size=int(info.facts.get("workers") or 1))
    return Story(events, advance_all(beginning, events))


def complete(registry: Registry, info: RunInfo, story: Story) -> None:
    """Write what a record lacks, its end last.

    Raises
    ------
    RegistryError
        If the registry still cannot be written, or somebody else is at it.
    """
    folder, summary = registry.settings.runs / info.run_id, story.summary
    options = registry.options(info).get("options", {})
    with ending_lock(folder, 0.0):
        story = _with_log(folder, story)
        if isinstance(summary, Study):
            if summary.state is RunState.DONE:
                _take_best_model(folder, summary)
            beginning = replace(summary, trials={}, state=RunState.SUBMITTED)
            of_study = StudyRecorder(registry.store, folder, _record(info, options), beginning)
            of_study.go_on(info.record_id, story.events)
            of_study.finish(summary)
        else:
            of_run = Recorder(registry.store, folder)
            of_run.begun(info.created_at, options.get("register"))
            of_run.go_on(info.record_id, story.events)
            of_run.finish(summary)
        if missing := missing_points(registry, info, story):
            registry.mark_incomplete(info, missing)


def missing_points(registry: Registry, info: RunInfo, story: Story) -> str:
    """Return ``44,036 of 100,000 points`` if a record has less than was said, by the summary; empty if it has all."""
    summary = story.summary
    if isinstance(summary, Study):
        said = sum(trial.curve.count for trial in summary.trials.values())
        had = sum(summary.metric in e.values for e in story.events if isinstance(e, ev.TrialReported))
        return _share(had, said, "points")
    said = sum(curve.count for curve in summary.curves.values())
    if sum(len(event.values) for event in story.events if isinstance(event, ev.Metrics)) >= said:
        # the journal has them all, and what it has was written
        return ""
    had = sum(not key.startswith("system/") for key, *_ in points_of(registry.store, info.record_id))
    return _share(had, said, "points")


def unwritten(registry: Registry, info: RunInfo, story: Story) -> str:
    """Return how much of what was said a record has that cannot be completed just now."""
    summary = story.summary
    if isinstance(summary, Study):
        ended = {child.run_id for child in registry.children(info) if child.state.is_final}
        return _share(len(ended), len(summary.ended()), "trials")
    rows = MetricRows(info.created_at).rows(event for event in story.events if isinstance(event, ev.Metrics))
    said = max(len(rows), sum(curve.count for curve in summary.curves.values()))
    had = sum(not key.startswith("system/") for key, *_ in points_of(registry.store, info.record_id))
    return _share(had, said, "points")


def lost(story: Story, reason: str) -> Story:
    """Return the story of a run that nobody runs any more, with that as its end; a study with all its trials is done."""
    at = max((event.at for event in story.events), default=0.0)
    if isinstance(story.summary, Study):
        if _has_all_trials(story.summary):
            return Story(story.events, replace(story.summary, state=RunState.DONE, reason="", ended_at=at))
        trials = {
            number: trial
            if trial.state.is_final
            else replace(trial, state=TrialState.FAILED, reason=reason, ended_at=max(at, trial.started_at))
            for number, trial in story.summary.trials.items()
        }
        ended = replace(story.summary, trials=trials, state=RunState.FAILED, reason=reason, ended_at=at or None)
        return Story(story.events, ended, frozenset(t.number for t in story.summary.trials.values() if not t.state.is_final))
    return Story(story.events, replace(story.summary, state=RunState.FAILED, reason=reason, ended_at=at or None))


def _has_all_trials(study: Study) -> bool:
    return 0 < study.trials_wanted <= len(study.trials) == len(study.ended())


def _take_best_model(folder: Path, study: Study) -> None:
    """Make the best trial's model the study's, if its supervisor had no time for that."""
    model = folder / "trials" / str(study.best.number) / layout.MODEL_FOLDER if study.best is not None else folder
    if study.best is not None and model.is_dir() and not (folder / layout.MODEL_FOLDER).exists():
        shutil.move(model, folder / layout.MODEL_FOLDER)


def _with_log(folder: Path, story: Story) -> Story:
    """Add to a log the end that others found, and what only a cluster's summary tells: who continues a study goes by it.

    Raises
    ------
    RegistryError
        If the log cannot be written.
    """
    summary = story.summary
    missing = _untold(summary, story) if isinstance(summary, Study) else []
    states = [event.state for event in story.events if isinstance(event, ev.StateChanged)]
    if story.events and (not states or states[-1] is not summary.state):
        missing.append(ev.StateChanged(at=summary.ended_at or 0.0, state=summary.state, reason=summary.reason))
    if not missing:
        return story
    journal = Journal(folder)
    problem = journal.write([ev.to_wire(event) for event in missing])
    journal.close()
    if problem:
        raise RegistryError(f"the log of {summary.name} in {folder} cannot be completed: {problem}")
    return replace(story, events=[*story.events, *missing])


def _untold(study: Study, story: Story) -> list[ev.Event]:
    told = recalled(Study(run_id=study.run_id, metric=study.metric), story.events).trials
    found: list[ev.Event] = []
    for trial in study.ended():
        known = told.get(trial.number)
        if trial.number in story.cut_off or (known is not None and known.state.is_final):
            continue
        if known is None:
            found.append(
                ev.TrialStarted(
                    at=trial.started_at,
                    trial=trial.number,
                    values=trial.values,
                    point=trial.point,
                    attempt=trial.attempt,
                    place=trial.place,
                )
            )
        if trial.parameters and (known is None or known.parameters != trial.parameters):
            found.append(ev.TrialFitted(at=trial.started_at, trial=trial.number, values=trial.parameters))
        last = -1 if known is None or not known.curve.steps else known.curve.steps[-1]
        found += [
            # when is not known any more: not before what the log has of the trial
            ev.TrialReported(
                at=trial.ended_at or trial.started_at,
                trial=trial.number,
                step=step,
                values={study.metric: value},
                by_epoch=trial.by_epoch,
            )
            for step, value in zip(trial.curve.steps, trial.curve.values, strict=True)
            if step > last
        ]
        found.append(_end_of(trial))
    return found


def _end_of(trial: Trial) -> ev.TrialEnded:
    return ev.TrialEnded(
        at=trial.ended_at or trial.started_at,
        trial=trial.number,
        state=trial.state,
        value=trial.value,
        step=trial.value_step,
        reason=trial.reason,
        error=trial.error,
        reached=trial.reached,
    )


def _share(had: int, said: int, what: str) -> str:
    return f"{had:,} of {said:,} {what}" if had < said else ""


def _study(registry: Registry, info: RunInfo, events: Sequence[ev.Event], known: Study | None) -> Study:
    options = registry.options(info).get("options", {})
    # a record that was hardly begun may have the options alone
    described = {**options, **json.loads(registry.text(info, layout.STUDY, default="{}"))}
    beginning = Study(
        run_id=info.run_id,
        name=info.name,
        experiment=info.experiment,
        metric=described.get("metric", ""),
        direction=Direction(described.get("direction", "minimize")),
        trials_wanted=int(options.get("trials") or 0),
        workers_per_trial=int(options.get("workers_per_trial") or 1),
        created_at=info.created_at,
        is_ablation=bool(described.get("is_ablation")),
    )
    study = recalled(beginning, events)
    if known is not None and known.state.is_final and len(known.ended()) >= len(study.ended()):
        return known
    return _with_states(study, events)


def _with_states(study: Study, events: Iterable[ev.Event]) -> Study:
    """Add to the trials that a journal tells of how the study stands: after its last begin, if it was continued."""
    warnings, restarts = dict.fromkeys(study.warnings), list(study.restarts)
    for event in events:
        if isinstance(event, ev.StateChanged):
            study = replace(
                study, state=event.state, reason=event.reason, ended_at=event.at if event.state.is_final else None
            )
        elif isinstance(event, ev.Warned):
            warnings[event.message] = None
        elif isinstance(event, ev.Restarted):
            restarts.append(event.reason)
    started = min((trial.started_at for trial in study.trials.values()), default=None)
    return replace(study, warnings=tuple(warnings), restarts=tuple(restarts), started_at=started)


def _record(info: RunInfo, options: dict[str, object]) -> RunRecord:
    return RunRecord(
        run_id=info.run_id,
        name=info.name,
        experiment=info.experiment,
        source="",
        created_at=info.created_at,
        kind=info.kind,
        notebook=str(info.facts.get("notebook", "")),
        folder=str(info.facts.get("folder", "")),
        options=options,
        user=info.user,
    )
