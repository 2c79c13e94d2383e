/** What a viewer knows of a study, and how messages change it; mirrors `hops_magic/widgets/study_wire.py`. */
import { skew, type State } from './model';

export type TrialState = 'running' | 'done' | 'stopped' | 'failed';
export type Value = number | string | null;

/** Times are seconds since the epoch, by the clock of `now` in the message that told them. */
export interface StudyHead {
  run_id: string;
  name: string;
  experiment: string;
  metric: string;
  direction: 'minimize' | 'maximize';
  is_ablation: boolean;
  /** What leaving each component out does to the metric, the most useful component first. */
  effects: { component: string; text: string; difference: number | null; low: number | null; high: number | null }[];
  search: string;
  stopping: string;
  state: State;
  is_final: boolean;
  can_stop: boolean;
  is_stop_requested: boolean;
  reason: string;
  queue: string;
  /** 0 where the number of trials is not known beforehand. */
  wanted: number;
  counts: Record<TrialState, number>;
  /** How many of the stopped trials a user stopped. */
  stopped_by_hand: number;
  places: number;
  places_wanted: number;
  names: string[];
  log_names: string[];
  /** Metrics beside the study's own. */
  metrics: string[];
  /** What steps of its trials are. */
  step_name: 'epoch' | 'step';
  /** Since when it waits, where it has not started. */
  created_at?: number;
  started_at: number | null;
  ended_at: number | null;
  best: number | null;
  per_minute: number | null;
  remaining_s: number | null;
  warnings: string[];
  restarts: string[];
  failures: { trials: string; reason: string }[];
  importance: Record<string, number>;
  best_code: string;
  report_html: string;
}

export interface Trial {
  number: number;
  state: TrialState;
  /** Of a running trial the newest. */
  value: number | null;
  values: Record<string, Value>;
  step: number;
  /** The newest of each metric. */
  metrics: Record<string, number | null>;
  started_at: number;
  ended_at: number | null;
  retries: number;
  place: string;
  reason: string;
}

export interface TrialCurve {
  steps: number[];
  values: (number | null)[];
  /** Seconds since the trial began; a journal of other times may not tell. */
  times?: number[];
}

/** All that a trial said, asked for when a user opens it. */
export interface OpenedTrial {
  type: 'trial';
  trial: number;
  curves: (TrialCurve & { metric: string; unit?: 'epoch' | 'step' })[];
  output: [ranks: string, text: string][];
  error: string;
  /** What its fits were called with. */
  parameters?: Record<string, string>;
}

export interface StudyModel {
  /** Number of the next message. */
  seq: number;
  /** Seconds by which the browser's clock is ahead of the kernel's. */
  skew_s: number;
  head: StudyHead;
  trials: ReadonlyMap<number, Trial>;
  curves: ReadonlyMap<number, TrialCurve>;
}

export interface StudyUpdate {
  type: 'update';
  seq: number;
  reset: boolean;
  now: number;
  head: Partial<StudyHead>;
  trials?: Trial[];
  curves?: (TrialCurve & { trial: number; at: number })[];
}

/** The study after a message; null when messages before it were missed, so that the whole must be asked for. */
export function advanceStudy(model: StudyModel | null, update: StudyUpdate, now_s: number): StudyModel | null {
  if (!update.reset && model?.seq !== update.seq) {
    return null;
  }
  const before = update.reset ? null : model;
  const trials = new Map(before?.trials);
  update.trials?.forEach(trial => trials.set(trial.number, trial));
  const curves = new Map(before?.curves);
  for (const { trial, at, steps, values, times } of update.curves ?? []) {
    const known = curves.get(trial);
    curves.set(trial, {
      steps: [...(known?.steps.slice(0, at) ?? []), ...steps],
      values: [...(known?.values.slice(0, at) ?? []), ...values],
      ...(times ? { times: [...(known?.times?.slice(0, at) ?? []), ...times] } : {})
    });
  }
  return {
    seq: update.seq + 1,
    skew_s: skew(before?.skew_s ?? null, update.now, now_s),
    // the first message tells every field of the head
    head: { ...before?.head, ...update.head } as StudyHead,
    trials,
    curves
  };
}

/** The trials that ended with a value, in the order of their ends. */
export function counted(study: StudyModel): (Trial & { value: number })[] {
  return [...study.trials.values()]
    .filter((trial): trial is Trial & { value: number } => isCounted(trial))
    .sort((a, b) => (a.ended_at ?? 0) - (b.ended_at ?? 0) || a.number - b.number);
}

function isCounted(trial: Trial): boolean {
  return trial.value !== null && (trial.state === 'done' || trial.state === 'stopped');
}

/** The best value after each trial that ended, as points of a stepped line. */
export function bestSoFar(study: StudyModel): { at: number; value: number }[] {
  const points: { at: number; value: number }[] = [];
  const isLess = study.head.direction === 'minimize';
  counted(study).forEach((trial, index) => {
    const last = points.at(-1);
    if (trial.state === 'done' && (!last || (isLess ? trial.value < last.value : trial.value > last.value))) {
      points.push({ at: index + 1, value: trial.value });
    }
  });
  return points;
}

/** Bounds that a few diverged values do not stretch: three spreads of the middle half around it. */
export function bounds(values: number[]): [number, number] {
  if (!values.length) {
    return [0, 1];
  }
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const [low, high] = [at(0.25), at(0.75)];
  const spread = Math.max(high - low, Math.abs(high) * 1e-6, 1e-12);
  const from = Math.max(sorted[0] ?? low, low - 3 * spread);
  const to = Math.min(sorted.at(-1) ?? high, high + 3 * spread);
  const margin = (to - from) * 0.05 || Math.abs(to) * 0.1 || 1;
  return [from - margin, to + margin];
}

export type SortKey =
  'number' | 'state' | 'value' | 'step' | 'seconds' | 'retries' | `values.${string}` | `metrics.${string}`;

/** The trials in a state (all for an empty one), sorted; those without the sorted value come last. */
export function sorted(study: StudyModel, key: SortKey, isDescending: boolean, state: TrialState | ''): Trial[] {
  const trials = [...study.trials.values()].filter(trial => !state || trial.state === state);
  const sign = isDescending ? -1 : 1;
  return trials.sort((a, b) => {
    const [x, y] = [cell(a, key), cell(b, key)];
    if (x === null || y === null) {
      return x === y ? a.number - b.number : x === null ? 1 : -1;
    }
    const order = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
    return sign * order || a.number - b.number;
  });
}

export function cell(trial: Trial, key: SortKey): Value {
  if (key === 'seconds') {
    return trial.ended_at === null ? null : trial.ended_at - trial.started_at;
  }
  if (key === 'number' || key === 'state' || key === 'value' || key === 'step' || key === 'retries') {
    return trial[key];
  }
  return key.startsWith('metrics.')
    ? (trial.metrics[key.slice('metrics.'.length)] ?? null)
    : (trial.values[key.slice('values.'.length)] ?? null);
}
