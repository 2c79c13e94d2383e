import { type ReactNode, useCallback, useMemo } from 'react';
import { figure } from '../../format';
import { bestSoFar, bounds, counted, type StudyModel } from '../../study';
import { useTranslator } from '../../translate';
import { axisFigure, type Brush, Canvas, ticks } from './Canvas';

interface Props {
  study: StudyModel;
}

const HEIGHT = 180;
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 8, 8, 20];
const BLUE = '#3b82d6';
const GREEN = '#2e8b57';
const AMBER = '#b7791f';

interface Scale {
  x: (value: number) => number;
  y: (value: number) => number;
}

/** The best value so far by trials that ended, each trial a dot. */
export function BestChart({ study }: Props): ReactNode {
  const trans = useTranslator();
  const trials = useMemo(() => counted(study), [study]);
  const best = useMemo(() => bestSoFar(study), [study]);
  const draw = useCallback(
    (brush: Brush) => {
      const values = trials.map(trial => trial.value);
      const scale = axes(brush, [0.5, Math.max(2, trials.length) + 0.5], bounds(values));
      const { context } = brush;
      trials.forEach((trial, index) => {
        context.globalAlpha = trial.state === 'stopped' ? 0.3 : 0.55;
        context.fillStyle = trial.state === 'stopped' ? AMBER : BLUE;
        context.beginPath();
        context.arc(scale.x(index + 1), scale.y(trial.value), 2.2, 0, 7);
        context.fill();
      });
      context.globalAlpha = 1;
      context.strokeStyle = GREEN;
      context.lineWidth = 2;
      context.beginPath();
      best.forEach((point, index) => {
        const next = best[index + 1]?.at ?? trials.length;
        context.lineTo(scale.x(point.at), scale.y(point.value));
        context.lineTo(scale.x(next), scale.y(point.value));
      });
      context.stroke();
    },
    [trials, best]
  );
  if (!trials.length) {
    return (
      <Titled title={trans.__('Best %1', study.head.metric)} unit={trans.__('trials')}>
        <div className="hops-nothing">{trans.__('No trial has ended with a value yet')}</div>
      </Titled>
    );
  }
  return (
    <Titled title={trans.__('Best %1', study.head.metric)} unit={trans.__('trials')}>
      <Canvas
        height={HEIGHT}
        label={trans.__('Best value so far: %1', figure(best.at(-1)?.value ?? null))}
        draw={draw}
      />
    </Titled>
  );
}

/** Every trial's curve, those that were stopped faded, the best on top. */
export function AllCurves({ study }: Props): ReactNode {
  const trans = useTranslator();
  const { curves, trials, head } = study;
  const draw = useCallback(
    (brush: Brush) => {
      const shown = [...curves].filter(([, curve]) => curve.steps.length > 0);
      const ends: number[] = [];
      let last = 1;
      let first = 1;
      for (const [, curve] of shown) {
        first = Math.min(first, curve.steps[0] ?? 1);
        last = Math.max(last, curve.steps.at(-1) ?? 1);
        for (const value of [curve.values[0], curve.values.at(-1)]) {
          if (value !== null && value !== undefined) {
            ends.push(value);
          }
        }
      }
      const scale = axes(brush, [first, Math.max(first + 1, last)], bounds(ends));
      const rest = shown.filter(([number]) => number !== head.best);
      for (const [number, curve] of [...rest, ...shown.filter(([number]) => number === head.best)]) {
        const isBest = number === head.best;
        const isStopped = trials.get(number)?.state === 'stopped';
        const { context } = brush;
        context.globalAlpha = isBest ? 1 : isStopped ? 0.25 : 0.45;
        context.strokeStyle = isBest ? GREEN : isStopped ? AMBER : BLUE;
        context.lineWidth = isBest ? 2.2 : 1;
        context.beginPath();
        curve.steps.forEach((step, index) => {
          const value = curve.values[index];
          if (value !== null && value !== undefined) {
            context.lineTo(scale.x(step), scale.y(value));
          }
        });
        context.stroke();
        context.globalAlpha = 1;
      }
    },
    [curves, trials, head.best]
  );
  if (curves.size === 0) {
    return null;
  }
  return (
    <Titled title={trans.__('%1 of each trial', head.metric)} unit={trans.__('steps')}>
      <Canvas height={HEIGHT} label={trans.__('Curves of %1 trials', curves.size)} draw={draw} />
    </Titled>
  );
}

function Titled({ title, unit, children }: { title: string; unit: string; children: ReactNode }): ReactNode {
  return (
    <figure className="hops-chart">
      <figcaption>
        <bdi className="hops-chart-title">{title}</bdi>
        <span className="hops-faint">{unit}</span>
      </figcaption>
      {children}
    </figure>
  );
}

/** Draw axes, and cut off what is drawn beyond them. */
function axes(brush: Brush, [left, right]: [number, number], [low, high]: [number, number]): Scale {
  const { context, width, height, ink, grid, font } = brush;
  const scale = {
    x: (value: number) => LEFT + ((value - left) / (right - left)) * (width - LEFT - RIGHT),
    y: (value: number) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM)
  };
  context.font = font;
  context.fillStyle = ink;
  context.strokeStyle = grid;
  context.lineWidth = 1;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const value of ticks(low, high)) {
    const y = Math.round(scale.y(value)) + 0.5;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width - RIGHT, y);
    context.stroke();
    context.fillText(axisFigure(value), LEFT - 5, y);
  }
  context.textAlign = 'center';
  for (const value of ticks(left, right, Math.max(2, Math.floor(width / 90)))) {
    if (Number.isInteger(value)) {
      context.fillText(String(value), scale.x(value), height - BOTTOM / 2);
    }
  }
  context.beginPath();
  context.rect(LEFT, TOP - 3, width - LEFT - RIGHT + 3, height - TOP - BOTTOM + 6);
  context.clip();
  return scale;
}
