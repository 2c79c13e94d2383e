import { type ReactNode, useCallback, useMemo } from 'react';
import { bounds, counted, type StudyModel, type Value } from '../../study';
import { useTranslator } from '../../translate';
import { axisFigure, type Brush, Canvas } from './Canvas';

/** What is drawn as one line: a trial, or a run. */
export interface ParallelLine {
  /** By axis; one that is missing leaves a gap. */
  values: Record<string, Value>;
  /** On the last axis. */
  metric: number;
  colour: string;
  opacity: number;
  width: number;
}

interface Props {
  /** Axes before that of the metric. */
  names: string[];
  /** Those of them whose scale is logarithmic. */
  logNames: string[];
  metric: string;
  /** The last are drawn on top. */
  lines: ParallelLine[];
  label: string;
}

interface Axis {
  name: string;
  /** From 0 at the bottom to 1 at the top, beyond them for values beyond the axis; null where a line has no such value. */
  place: (value: Value | undefined) => number | null;
  marks: [number, string][];
}

const HEIGHT = 230;
const [SIDE, TOP, BOTTOM] = [58, 24, 46];
/** Between two lines of names. */
const LINE = 14;
/** How far beyond an axis' end lines pass whose values are beyond it. */
const BEYOND = 8;
const MOST_OPTIONS = 12;

/** A line for each trial through an axis for each hyperparameter, the metric last; the colour tells the metric. */
export function ParallelTrials({ study }: { study: StudyModel }): ReactNode {
  const trans = useTranslator();
  const { names, log_names, metric } = study.head;
  const lines = useMemo(() => linesOf(study), [study]);
  const label = trans.__('Parallel coordinates of %1 trials', lines.length);
  return <Parallel names={names} logNames={log_names} metric={metric} lines={lines} label={label} />;
}

function linesOf(study: StudyModel): ParallelLine[] {
  const trials = counted(study);
  const [low, high] = bounds(trials.map(trial => trial.value));
  const goodness = (value: number) => {
    const place = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    return study.head.direction === 'minimize' ? 1 - place : place;
  };
  return trials
    .sort((a, b) => goodness(a.value) - goodness(b.value))
    .map(trial => {
      const good = goodness(trial.value);
      return {
        values: trial.values,
        metric: trial.value,
        colour: `hsl(${20 + 130 * good} 60% 45%)`,
        opacity: trial.state === 'stopped' ? 0.12 : 0.2 + 0.5 * good,
        width: trial.number === study.head.best ? 2.5 : 1
      };
    });
}

export function Parallel({ names, logNames, metric, lines, label }: Props): ReactNode {
  const axes = useMemo(() => {
    const made = names.map(name =>
      axisOf(
        name,
        lines.map(line => line.values[name] ?? null),
        logNames.includes(name)
      )
    );
    const [low, high] = bounds(lines.map(line => line.metric));
    return [...made, numeric(metric, low, high, false)];
  }, [lines, names, logNames, metric]);
  const draw = useCallback(
    (brush: Brush) => {
      const { context, width, height, ink, grid, ground, font } = brush;
      const x = (index: number) => SIDE + (index / Math.max(1, axes.length - 1)) * (width - 2 * SIDE);
      const y = (place: number) => {
        const inside = TOP + (1 - Math.min(1, Math.max(0, place))) * (height - TOP - BOTTOM);
        return inside + (place > 1 ? -BEYOND : place < 0 ? BEYOND : 0);
      };
      for (const line of lines) {
        context.strokeStyle = line.colour;
        context.globalAlpha = line.opacity;
        context.lineWidth = line.width;
        const places = axes.map((axis, index) =>
          axis.place(index === axes.length - 1 ? line.metric : line.values[axis.name])
        );
        for (const stretch of stretches(places)) {
          context.beginPath();
          stretch.forEach(({ index, place }) => {
            context.lineTo(x(index), y(place));
          });
          if (stretch.length === 1 && stretch[0]) {
            context.arc(x(stretch[0].index), y(stretch[0].place), 1.5, 0, 7);
          }
          context.stroke();
        }
      }
      context.globalAlpha = 1;
      context.font = font;
      context.lineWidth = 1;
      const room = x(1) - x(0) - 10;
      // where names are long, every other one stands a line higher
      const isStaggered = axes.some(axis => context.measureText(axis.name).width > room);
      axes.forEach((axis, index) => {
        context.strokeStyle = grid;
        context.lineWidth = 1;
        context.beginPath();
        context.moveTo(x(index), TOP);
        context.lineTo(x(index), height - BOTTOM);
        context.stroke();
        context.fillStyle = ink;
        context.textAlign = 'center';
        context.textBaseline = 'alphabetic';
        const raised = isStaggered && index % 2 ? LINE : 0;
        context.fillText(fitting(context, axis.name, isStaggered ? 2 * room : room), x(index), height - 6 - raised);
        context.textAlign = index === axes.length - 1 ? 'left' : 'right';
        context.textBaseline = 'middle';
        const aside = index === axes.length - 1 ? 4 : -4;
        axis.marks.forEach(([place, text]) => {
          // lines pass behind the figures
          context.strokeStyle = ground;
          context.lineWidth = 3;
          context.strokeText(cut(text, 10), x(index) + aside, y(place));
          context.fillText(cut(text, 10), x(index) + aside, y(place));
        });
        const [above, below] = beyond(axis, index === axes.length - 1, lines);
        context.textAlign = 'center';
        // what is cut off is not at the end of the axis
        if (above) {
          context.fillText(`▲ ${above}`, x(index), TOP - BEYOND - 8);
        }
        if (below) {
          context.fillText(`▼ ${below}`, x(index), height - BOTTOM + BEYOND + 8);
        }
      });
    },
    [axes, lines]
  );
  return <Canvas height={HEIGHT} label={label} draw={draw} />;
}

/** The stretches of a line between axes on which it has no value: it passes none of them. */
export function stretches(places: (number | null)[]): { index: number; place: number }[][] {
  const found: { index: number; place: number }[][] = [];
  places.forEach((place, index) => {
    if (place === null) {
      return;
    }
    const last = found.at(-1);
    if (last?.at(-1)?.index === index - 1) {
      last.push({ index, place });
    } else {
      found.push([{ index, place }]);
    }
  });
  return found;
}

/** A name in so much room: of `optimizer.learning_rate` the last part says most. */
function fitting(context: CanvasRenderingContext2D, name: string, room: number): string {
  const isWithin = (text: string) => context.measureText(text).width <= room;
  let text = isWithin(name) ? name : (name.split('.').at(-1) ?? name);
  while (text.length > 2 && !isWithin(text)) {
    text = cut(text, text.length - 1);
  }
  return text;
}

/** How many lines pass beyond the upper and the lower end of an axis. */
export function beyond(axis: Pick<Axis, 'name' | 'place'>, isMetric: boolean, lines: ParallelLine[]): [number, number] {
  const places = lines.map(line => axis.place(isMetric ? line.metric : line.values[axis.name]) ?? 0.5);
  return [places.filter(place => place > 1).length, places.filter(place => place < 0).length];
}

function axisOf(name: string, values: Value[], isLog: boolean): Axis {
  const numbers = values.filter((value): value is number => typeof value === 'number');
  const known = values.filter(value => value !== null);
  if (numbers.length === known.length && numbers.length) {
    const isPositive = Math.min(...numbers) > 0;
    return numeric(name, Math.min(...numbers), Math.max(...numbers), isLog && isPositive);
  }
  const options = [...new Set(known.map(String))].sort();
  const at = new Map(options.map((option, index) => [option, options.length > 1 ? index / (options.length - 1) : 0.5]));
  return {
    name,
    place: value => (value === null || value === undefined ? null : (at.get(String(value)) ?? null)),
    marks: options.slice(0, MOST_OPTIONS).map(option => [at.get(option) ?? 0, option])
  };
}

export function numeric(name: string, low: number, high: number, isLog: boolean): Axis {
  const to = (value: number) => (isLog ? Math.log(value) : value);
  const from = (value: number) => (isLog ? Math.exp(value) : value);
  const [first, last] = [to(low), to(high)];
  const extent = last - first || 1;
  return {
    name,
    place: value => (typeof value === 'number' ? within((to(value) - first) / extent) : null),
    marks: (last > first ? [0, 0.5, 1] : [0]).map(place => [place, axisFigure(from(first + place * extent))])
  };
}

/** Ends of an axis are on it, whatever rounding makes of them. */
function within(place: number): number {
  return Math.abs(place) < 1e-9 ? 0 : Math.abs(place - 1) < 1e-9 ? 1 : place;
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
