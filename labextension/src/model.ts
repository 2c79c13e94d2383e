/** What a viewer knows of a run, and how messages change it; mirrors `hops_magic/widgets/wire.py`. */

export type State =
  'submitted' | 'queued' | 'starting' | 'running' | 'restarting' | 'stopping' | 'done' | 'failed' | 'stopped';

export interface ErrorGroup {
  ranks: string;
  headline: string;
  traceback: string;
}

/** The run's own facts. Times are seconds since the epoch, by the clock of `now` in the message that told them. */
export interface Head {
  run_id: string;
  name: string;
  experiment: string;
  world_size: number;
  state: State;
  is_final: boolean;
  can_stop: boolean;
  is_stop_requested: boolean;
  reason: string;
  queue: string;
  progress: string;
  fraction: number | null;
  remaining_s: number | null;
  examples_per_s: number | null;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  attempt: number;
  restarts: string[];
  latest: Record<string, number | null>;
  warnings: string[];
  /** What its fits were called with. */
  parameters: Record<string, string>;
  /** How it was carried out: what was checked, how ranks came by their rows. */
  notes: string[];
  errors: ErrorGroup[];
  checkpoint: { epoch: number; step: number } | null;
  result: { names: string[]; left_behind: Record<string, string> } | null;
  report_html: string;
}

export interface Rank {
  rank: number;
  pid: number | null;
  worker: string;
  host: string;
  gpus: string[];
  alive: boolean;
  phase: string;
  epoch: number;
  epochs: number | null;
  step: number;
  steps: number | null;
  examples_per_s: number | null;
  /** Rows in all fits so far, and the seconds of their training. */
  examples: number | null;
  train_s: number | null;
  cpu_percent: number | null;
  memory_bytes: number | null;
  gpu_percent: number | null;
  gpu_memory_bytes: number | null;
  mean_cpu_percent: number | null;
  peak_memory_bytes: number | null;
  mean_gpu_percent: number | null;
  peak_gpu_memory_bytes: number | null;
}

/** A value is null where the metric was not a finite number. */
export interface Curve {
  metric: string;
  scope: string;
  series: number;
  rank: number;
  steps: number[];
  values: (number | null)[];
  /** When each was said. */
  times: number[];
}

export type OutputPart = [stream: string, text: string];

/** The newest output of a rank. `end` is the kernel's count of characters, which is not that of JavaScript. */
export interface Output {
  end: number;
  isCut: boolean;
  parts: OutputPart[];
}

export interface Display {
  rank: number;
  data: Record<string, string>;
}

export interface RunModel {
  /** Number of the next message. */
  seq: number;
  /** Seconds by which the browser's clock is ahead of the kernel's. */
  skew_s: number;
  head: Head;
  ranks: Record<number, Rank>;
  curves: Record<string, Curve>;
  output: Record<number, Output>;
  displays: Display[];
}

export interface Update {
  type: 'update';
  seq: number;
  reset: boolean;
  now: number;
  head: Partial<Head>;
  ranks?: Rank[];
  curves?: (Curve & { at: number })[];
  output?: { rank: number; start: number; end: number; parts: OutputPart[] }[];
  displays?: { drop: number; add: Display[] };
}

export const MAX_OUTPUT_CHARS = 65_536;

/** The run after a message; null when messages before it were missed, so that the whole must be asked for. */
export function advance(model: RunModel | null, update: Update, now_s: number): RunModel | null {
  if (!update.reset && model?.seq !== update.seq) {
    return null;
  }
  const base: Omit<RunModel, 'head'> & { head: Partial<Head> } =
    update.reset || model === null
      ? { seq: 0, skew_s: 0, head: {}, ranks: {}, curves: {}, output: {}, displays: [] }
      : model;
  return {
    seq: update.seq + 1,
    skew_s: skew(update.reset ? null : (model?.skew_s ?? null), update.now, now_s),
    // the first message tells every field of the head
    head: { ...base.head, ...update.head } as Head,
    ranks: update.ranks
      ? { ...base.ranks, ...Object.fromEntries(update.ranks.map(rank => [rank.rank, rank])) }
      : base.ranks,
    curves: update.curves ? withCurves(base.curves, update.curves) : base.curves,
    output: update.output ? withOutput(base.output, update.output) : base.output,
    displays: update.displays ? [...base.displays.slice(update.displays.drop), ...update.displays.add] : base.displays
  };
}

/** The smallest difference of the clocks that was seen: others hold the time that a message took. */
export function skew(known: number | null, told_s: number, now_s: number): number {
  return Math.min(known ?? Infinity, now_s - told_s);
}

function withCurves(curves: RunModel['curves'], updates: (Curve & { at: number })[]): RunModel['curves'] {
  const changed = { ...curves };
  for (const { at, steps, values, times, ...names } of updates) {
    const key = JSON.stringify([names.metric, names.scope, names.series, names.rank]);
    const before = changed[key];
    changed[key] = {
      ...names,
      steps: [...(before?.steps.slice(0, at) ?? []), ...steps],
      values: [...(before?.values.slice(0, at) ?? []), ...values],
      times: [...(before?.times.slice(0, at) ?? []), ...times]
    };
  }
  return changed;
}

function withOutput(outputs: RunModel['output'], updates: NonNullable<Update['output']>): RunModel['output'] {
  const changed = { ...outputs };
  for (const { rank, start, end, parts } of updates) {
    const before = changed[rank];
    const isNext = before?.end === start;
    changed[rank] = tail({
      end,
      isCut: isNext ? before.isCut : start > 0,
      parts: isNext ? joined(before.parts, parts) : parts
    });
  }
  return changed;
}

function joined(before: OutputPart[], added: OutputPart[]): OutputPart[] {
  const last = before.at(-1);
  const first = added[0];
  return last && first && last[0] === first[0]
    ? [...before.slice(0, -1), [last[0], last[1] + first[1]], ...added.slice(1)]
    : [...before, ...added];
}

/** Forget the oldest characters beyond what is kept. */
function tail(output: Output): Output {
  let excess = output.parts.reduce((sum, [, text]) => sum + text.length, 0) - MAX_OUTPUT_CHARS;
  if (excess <= 0) {
    return output;
  }
  const parts: OutputPart[] = [];
  for (const [stream, text] of output.parts) {
    if (excess < text.length) {
      parts.push([stream, text.slice(Math.max(0, excess))]);
    }
    excess -= text.length;
  }
  return { end: output.end, isCut: true, parts };
}
