import type { Curve, Head, Update } from '../src/model';

export function head(changes: Partial<Head> = {}): Head {
  return {
    run_id: 'run-1',
    name: 'digits',
    experiment: '',
    world_size: 2,
    state: 'running',
    is_final: false,
    can_stop: true,
    is_stop_requested: false,
    reason: '',
    queue: '',
    progress: '',
    fraction: null,
    remaining_s: null,
    examples_per_s: null,
    created_at: 0,
    started_at: null,
    ended_at: null,
    attempt: 0,
    restarts: [],
    latest: {},
    warnings: [],
    parameters: {},
    notes: [],
    errors: [],
    checkpoint: null,
    result: null,
    report_html: '',
    ...changes
  };
}

export function update(seq: number, changes: Partial<Update> = {}): Update {
  return { type: 'update', seq, reset: seq === 0, now: 0, head: seq === 0 ? head() : {}, ...changes };
}

export function curve(metric: string, scope: string, values: (number | null)[], changes: Partial<Curve> = {}): Curve {
  return {
    metric,
    scope,
    series: 1,
    rank: 0,
    steps: values.map((_, index) => index + 1),
    values,
    times: values.map((_, index) => 100 + index),
    ...changes
  };
}
