"""The state of a study as HTML that needs neither kernel, script nor network."""

from __future__ import annotations

from collections.abc import Mapping

from hops_magic.errors import counted
from hops_magic.runs.states import TrialState
from hops_magic.runs.study import Study, Trial
from hops_magic.tuning.ablation import effects_of, words_of
from hops_magic.widgets import markup, study_words, words
from hops_magic.widgets.pictures import HEIGHT, WIDTH, data_uri
from hops_magic.widgets.plain import one_line
from hops_magic.widgets.sanitize import sanitize
from hops_magic.widgets.study_pictures import best_png, curves_png, effects_png

_LEADERS = 10
_MAX_NAMES = 12


def study_html(study: Study, *, now: float, report_html: str = "", importance: Mapping[str, float] | None = None) -> str:
    """The study as a piece of a page, with inline styles only."""
    parts = [
        _header(study, now),
        *(markup.callout("#b7791f", message) for message in (*study.warnings, *(f"Restarted: {r}" for r in study.restarts))),
        *(
            markup.callout("#c9372c", f"{study_words.trials(numbers)} failed: {reason}", _error_of(study, numbers))
            for reason, numbers in list(study_words.failures(study).items())[:3]
        ),
        _effects(study) if study.is_ablation else _pictures(study),
        _bars(importance or {}),
        _leaders(study),
        markup.folded("What travelled to the cluster", sanitize(report_html)) if report_html else "",
        markup.note(one_line(f"{study.run_id} · experiment {study.experiment}")),
    ]
    return markup.page(parts)


def _header(study: Study, now: float) -> str:
    aim = f"{study.direction.value} {one_line(study.metric, 40)}"
    facts = [aim, study_words.waiting(study), study_words.counts(study)]
    if study.places and not study.state.is_final:
        facts.append(f"room for {study.places} of {study.places_wanted} trials at once")
    if study.started_at is not None:
        facts.append(words.duration((study.ended_at or now) - study.started_at))
    pace, left = study_words.per_minute(study, now), study_words.remaining_s(study, now)
    facts += [f"{words.figure(float(f'{pace:.2g}'))} trials a minute"] if pace is not None else []
    facts += [f"{words.duration(left)} left"] if left is not None else []
    facts += [one_line(study.reason, 300)] if study.reason else []
    head = f"<div>{markup.headline(study.state, study_words.title(study), facts)}</div>"
    best = study.best
    if best is None or study.is_ablation:
        return head
    shown = f"{markup.text(study_words.best(study))}</b> <code>{markup.text(study_words.values(best.values))}</code>"
    return f'{head}<div style="margin:2px 0 6px"><b>{shown}</div>'


def _pictures(study: Study) -> str:
    made = []
    if any(trial.has_value for trial in study.trials.values()):
        made.append((best_png(study), "best value by trials"))
    if any(trial.curve.count > 1 for trial in study.trials.values()):
        made.append((curves_png(study), "curves of all trials"))
    pictures = (
        f'<img width="{WIDTH}" height="{HEIGHT}" alt="{told}" style="margin:4px 16px 4px 0;display:inline-block" '
        f'src="{data_uri(png)}">'
        for png, told in made
    )
    return f"<div>{''.join(pictures)}</div>" if made else ""


def _effects(study: Study) -> str:
    effects = effects_of(study)
    if not effects:
        return ""
    picture = ""
    if any(effect.difference is not None for effect in effects):
        picture = (
            f'<div><img width="{2 * WIDTH}" alt="bars of the differences" style="margin:4px 0;max-width:100%" '
            f'src="{data_uri(effects_png(study))}"></div>'
        )
    head = ["component", f"{study.metric} without it, less with it"]
    return picture + _table(head, [[effect.component, words_of(effect)] for effect in effects])


def _bars(importance: Mapping[str, float]) -> str:
    if not importance:
        return ""
    bar = "display:inline-block;background:#3b82d6;height:9px"
    rows = "".join(
        f'<tr><td style="padding:1px 12px 1px 0;text-align:right">{markup.text(one_line(name, 40))}</td>'
        f'<td style="text-align:left"><span style="{bar};width:{160 * share:.0f}px"></span> {share:.0%}</td></tr>'
        for name, share in list(importance.items())[:_MAX_NAMES]
    )
    return markup.folded("Importance", f'<table style="border-collapse:collapse">{rows}</table>', is_open=True)


def _leaders(study: Study) -> str:
    leaders = study_words.leaders(study, _LEADERS)
    if not leaders:
        return ""
    names = list(study.names)[:_MAX_NAMES]
    head = ["trial", "state", study.metric, *names, study.step_name, "seconds"]
    rows = [_row(trial, names) for trial in leaders]
    title = f"The best {len(leaders)} of {counted(len(study.trials), 'trial')}"
    return markup.folded(title, _table(head, rows), is_open=True)


def _state(trial: Trial) -> str:
    if trial.state is not TrialState.STOPPED:
        return str(trial.state.value)
    return "stopped by hand" if trial.is_stopped_by_hand else "stopped early"


def _row(trial: Trial, names: list[str]) -> list[str]:
    return [
        str(trial.number),
        _state(trial),
        "" if trial.value is None else words.figure(trial.value),
        *(study_words.value(trial.values[name]) if name in trial.values else "" for name in names),
        str(trial.shown_step or ""),
        "" if trial.duration_s is None else f"{trial.duration_s:.1f}",
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    cut = [[one_line(cell, 60) for cell in row] for row in (head, *rows)]
    return markup.table(cut[0], cut[1:])


def _error_of(study: Study, numbers: list[int]) -> str:
    return study.trials[numbers[0]].error
