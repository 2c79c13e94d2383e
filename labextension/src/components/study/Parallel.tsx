import { type ReactNode, useCallback, useMemo } from 'react';
import { bounds, counted, type StudyModel, type Value } from '../../study';
import { useTranslator } from '../../translate';
import { axisFigure, type Brush, Canvas } from './Canvas';

interface Props {
  study: StudyModel;
}

interface Axis {
  name: string;
  /** From 0 at the bottom to 1 at the top; null where a trial has no such value. */
  place: (value: Value | undefined) => number | null;
  marks: [number, string][];
}

const HEIGHT = 220;
const [SIDE, TOP, BOTTOM] = [58, 12, 22];
const MOST_OPTIONS = 12;

/** A line for each trial through an axis for each hyperparameter, the metric last; the colour tells the metric. */
export function Parallel({ study }: Props): ReactNode {
  const trans = useTranslator();
  const trials = useMemo(() => counted(study), [study]);
  const { names, log_names, metric, direction } = study.head;
  const axes = useMemo(() => {
    const made = names.map(name =>
      axisOf(
        name,
        trials.map(trial => trial.values[name] ?? null),
        log_names.includes(name)
      )
    );
    const [low, high] = bounds(trials.map(trial => trial.value));
    return [...made, numeric(metric, low, high, false)];
  }, [trials, names, log_names, metric]);
  const draw = useCallback(
    (brush: Brush) => {
      const { context, width, height, ink, grid, font } = brush;
      const x = (index: number) => SIDE + (index / Math.max(1, axes.length - 1)) * (width - 2 * SIDE);
      const y = (place: number) => TOP + (1 - Math.min(1, Math.max(0, place))) * (height - TOP - BOTTOM);
      const last = axes.at(-1);
      const goodness = (value: number) => {
        const place = last?.place(value) ?? 0;
        return direction === 'minimize' ? 1 - place : place;
      };
      // the good ones are drawn last, on top
      for (const trial of [...trials].sort((a, b) => goodness(a.value) - goodness(b.value))) {
        const good = Math.min(1, Math.max(0, goodness(trial.value)));
        context.strokeStyle = `hsl(${20 + 130 * good} 60% 45%)`;
        context.globalAlpha = trial.state === 'stopped' ? 0.12 : 0.2 + 0.5 * good;
        context.lineWidth = trial.number === study.head.best ? 2.5 : 1;
        context.beginPath();
        axes.forEach((axis, index) => {
          const place = axis.place(index === axes.length - 1 ? trial.value : trial.values[axis.name]);
          if (place !== null) {
            context.lineTo(x(index), y(place));
          }
        });
        context.stroke();
      }
      context.globalAlpha = 1;
      context.font = font;
      context.lineWidth = 1;
      axes.forEach((axis, index) => {
        context.strokeStyle = grid;
        context.beginPath();
        context.moveTo(x(index), TOP);
        context.lineTo(x(index), height - BOTTOM);
        context.stroke();
        context.fillStyle = ink;
        context.textAlign = 'center';
        context.textBaseline = 'alphabetic';
        context.fillText(cut(axis.name, 18), x(index), height - 6);
        context.textAlign = index === axes.length - 1 ? 'left' : 'right';
        context.textBaseline = 'middle';
        const aside = index === axes.length - 1 ? 4 : -4;
        axis.marks.forEach(([place, text]) => {
          context.fillText(cut(text, 10), x(index) + aside, y(place));
        });
      });
    },
    [axes, trials, direction, study.head.best]
  );
  return <Canvas height={HEIGHT} label={trans.__('Parallel coordinates of %1 trials', trials.length)} draw={draw} />;
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

function numeric(name: string, low: number, high: number, isLog: boolean): Axis {
  const to = (value: number) => (isLog ? Math.log(value) : value);
  const from = (value: number) => (isLog ? Math.exp(value) : value);
  const [first, last] = [to(low), to(high)];
  const extent = last - first || 1;
  return {
    name,
    place: value => (typeof value === 'number' ? (to(value) - first) / extent : null),
    marks: (last > first ? [0, 0.5, 1] : [0]).map(place => [place, axisFigure(from(first + place * extent))])
  };
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
