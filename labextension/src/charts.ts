/** Which curves are drawn together; the same rules as `hops_magic/widgets/charts.py`. */
import type { Curve } from './model';

export const MAX_LINES = 8;

/** What the horizontal axis counts: epochs or steps as the curves have them for an empty one. */
export type Axis = '' | 'step' | 'time';

export interface Line {
  label: string;
  curve: Curve;
  /** Which of the colours it has, if not its place among the lines. */
  colour?: number;
}

export interface Chart {
  title: string;
  unit: 'epoch' | 'step' | 'time';
  lines: Line[];
}

/** One row of steps and, for each line, its value at each step; undefined where it has none. */
export type Aligned = [number[], ...(number | null | undefined)[][]];

export function baseName(metric: string): string {
  return metric.replace(/^val_/, '');
}

/** The numbers of the fits that have curves, in order. */
export function fits(curves: Iterable<Curve>): number[] {
  return [...new Set([...curves].map(curve => curve.series))].sort((a, b) => a - b);
}

/** The charts of one fit (or, for metrics that this fit has not, of the newest before it), losses first. */
export function charts(curves: Iterable<Curve>, fit = Infinity, axis: Axis = ''): Chart[] {
  const groups = new Map<string, Curve[]>();
  for (const curve of curves) {
    if (curve.series <= fit && curve.values.some(value => value !== null)) {
      const base = baseName(curve.metric);
      groups.set(base, [...(groups.get(base) ?? []), curve]);
    }
  }
  return [...groups.entries()]
    .sort(([a], [b]) => Number(!a.includes('loss')) - Number(!b.includes('loss')) || compare(a, b))
    .map(([base, all]) => chartOf(base, all, axis));
}

function chartOf(base: string, all: Curve[], axis: Axis): Chart {
  const newest = Math.max(...all.map(curve => curve.series));
  const mine = all.filter(curve => curve.series === newest);
  const scope = scopeOf(mine, axis);
  // over time, steps and epochs have a common measure: each metric is drawn as finely as it is known
  const fits = (curve: Curve) =>
    curve.scope === (axis === 'time' ? finest(mine.filter(other => other.metric === curve.metric)) : scope);
  const chosen = mine
    .filter(fits)
    .sort((a, b) => Number(a.metric !== base) - Number(b.metric !== base) || a.rank - b.rank);
  const many = new Set(chosen.map(curve => curve.rank)).size > 1;
  const chart: Chart = {
    title: base,
    unit: scope === 'epoch' ? 'epoch' : 'step',
    lines: chosen
      .slice(0, MAX_LINES)
      .map(curve => ({ label: many ? `${curve.metric} · rank ${curve.rank}` : curve.metric, curve }))
  };
  return alongAxis(chart, axis);
}

/** The chart with seconds since its first point in the place of steps, if time is its axis. */
export function alongAxis(chart: Chart, axis: Axis): Chart {
  // a record of other tools may not tell when
  if (axis !== 'time' || chart.lines.some(({ curve }) => curve.times.length !== curve.steps.length)) {
    return chart;
  }
  const first = Math.min(...chart.lines.map(({ curve }) => curve.times[0] ?? Infinity));
  const since = (curve: Curve): Curve => ({ ...curve, steps: curve.times.map(at => at - first) });
  return { ...chart, unit: 'time', lines: chart.lines.map(line => ({ ...line, curve: since(line.curve) })) };
}

function finest(curves: Curve[]): string | undefined {
  return curves.reduce<Curve | null>((a, b) => (a && a.steps.length >= b.steps.length ? a : b), null)?.scope;
}

/** Epochs once there are two of them; before, steps, which say more. */
function scopeOf(curves: Curve[], axis: Axis): string {
  const longest: Record<string, number> = {};
  for (const curve of curves) {
    longest[curve.scope] = Math.max(longest[curve.scope] ?? 0, curve.steps.length);
  }
  if ((longest['epoch'] ?? 0) >= 2 && axis !== 'step') {
    return 'epoch';
  }
  return ['batch', 'user', 'epoch', ...Object.keys(longest)].find(scope => scope in longest) ?? 'epoch';
}

/** Put lines on common steps. */
export function align(lines: Line[]): Aligned {
  const first = lines[0]?.curve.steps ?? [];
  if (lines.every(line => isSame(line.curve.steps, first))) {
    return [first, ...lines.map(line => line.curve.values)];
  }
  const steps = [...new Set(lines.flatMap(line => line.curve.steps))].sort((a, b) => a - b);
  const columns = lines.map(({ curve }) => {
    const at = new Map(curve.steps.map((step, index) => [step, curve.values[index]]));
    return steps.map(step => at.get(step));
  });
  return [steps, ...columns];
}

function isSame(a: number[], b: number[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A moving mean that weighs each earlier point by `weight` less; right from the first point on. Gaps stay gaps. */
export function smoothed(
  values: readonly (number | null | undefined)[],
  weight: number
): (number | null | undefined)[] {
  let [sum, norm] = [0, 0];
  return values.map(value => {
    if (value === null || value === undefined) {
      return value;
    }
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}
