import { type ReactNode, useCallback, useMemo } from 'react';
import { smoothed } from '../../charts';
import { duration, figure } from '../../format';
import { bestSoFar, bounds, counted, type StudyModel, type TrialCurve } from '../../study';
import { type Translator, useTranslator } from '../../translate';
import { type ChartOptions, PLAIN } from '../ChartControls';
import { axisFigure, type Brush, Canvas, logTicks, ticks } from './Canvas';

interface Props {
  study: StudyModel;
  options?: ChartOptions;
}

const HEIGHT = 180;
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 8, 8, 20];
const BLUE = '#3b82d6';
const GREEN = '#2e8b57';
const AMBER = '#b7791f';

/** How the axes of a drawing count. */
interface Kind {
  isLog: boolean;
  isTime: boolean;
}

interface Scale {
  x: (value: number) => number;
  y: (value: number) => number;
}

/** The best value so far by trials that ended, each trial a dot. */
export function BestChart({ study, options = PLAIN }: Props): ReactNode {
  const trans = useTranslator();
  const trials = useMemo(() => counted(study), [study]);
  const best = useMemo(() => bestSoFar(study), [study]);
  const isTime = options.axis === 'time';
  const isLog = options.isLog && trials.some(trial => trial.value > 0);
  const { started_at } = study.head;
  const draw = useCallback(
    (brush: Brush) => {
      const shown = trials.map((trial, index) => ({
        ...trial,
        at: isTime ? (trial.ended_at ?? 0) - (started_at ?? 0) : index + 1
      }));
      const drawn = isLog ? shown.filter(trial => trial.value > 0) : shown;
      const end = isTime ? Math.max(1, shown.at(-1)?.at ?? 1) : Math.max(2, trials.length) + 0.5;
      const values = drawn.map(trial => trial.value);
      const scale = axes(brush, [isTime ? 0 : 0.5, end], boundsOf(values, isLog), { isLog, isTime });
      const place = (number: number) => scale.x(shown[number - 1]?.at ?? number);
      const { context } = brush;
      drawn.forEach(trial => {
        context.globalAlpha = trial.state === 'stopped' ? 0.75 : 0.8;
        context.fillStyle = trial.state === 'stopped' ? AMBER : BLUE;
        context.beginPath();
        context.arc(scale.x(trial.at), scale.y(trial.value), 2.2, 0, 7);
        context.fill();
      });
      context.globalAlpha = 1;
      context.strokeStyle = GREEN;
      context.lineWidth = 2;
      context.beginPath();
      const line = isLog ? best.filter(point => point.value > 0) : best;
      line.forEach((point, index) => {
        const next = line[index + 1]?.at ?? trials.length;
        context.lineTo(place(point.at), scale.y(point.value));
        context.lineTo(place(next), scale.y(point.value));
      });
      context.stroke();
    },
    [trials, best, isLog, isTime, started_at]
  );
  if (!trials.length) {
    return (
      <Titled title={trans.__('Best %1', study.head.metric)} unit={trans.__('trials')}>
        <div className="hops-nothing">{trans.__('No trial has ended with a value yet')}</div>
      </Titled>
    );
  }
  return (
    <Titled
      title={trans.__('Best %1', study.head.metric)}
      unit={isTime ? trans.__('time') : trans.__('trials')}
      legend={legendOf(trans.__('best so far'), study, trans)}
    >
      <Canvas
        height={HEIGHT}
        label={trans.__('Best value so far: %1', figure(best.at(-1)?.value ?? null))}
        draw={draw}
      />
    </Titled>
  );
}

/** Every trial's curve, those that were stopped faded, the best on top. */
export function AllCurves({ study, options = PLAIN }: Props): ReactNode {
  const trans = useTranslator();
  const { trials, head } = study;
  const isTime = options.axis === 'time' && [...study.curves.values()].every(isTimed);
  const { smoothing } = options;
  const isLog = options.isLog && [...study.curves.values()].some(curve => curve.values.some(value => (value ?? 0) > 0));
  const curves = useMemo(
    () => new Map([...study.curves].map(([number, curve]) => [number, drawnOf(curve, { isLog, isTime }, smoothing)])),
    [study.curves, isLog, isTime, smoothing]
  );
  const draw = useCallback(
    (brush: Brush) => {
      const shown = [...curves].filter(([, curve]) => curve.steps.length > 0);
      const ends: number[] = [];
      for (const [, curve] of shown) {
        for (const value of [curve.values[0], curve.values.at(-1)]) {
          if (value !== null && value !== undefined) {
            ends.push(value);
          }
        }
      }
      const scale = axes(
        brush,
        reach(
          shown.map(([, curve]) => curve),
          isTime
        ),
        boundsOf(ends, isLog),
        { isLog, isTime }
      );
      const rest = shown.filter(([number]) => number !== head.best);
      for (const [number, curve] of [...rest, ...shown.filter(([number]) => number === head.best)]) {
        const isBest = number === head.best;
        const isStopped = trials.get(number)?.state === 'stopped';
        const { context } = brush;
        context.globalAlpha = isBest ? 1 : isStopped ? 0.6 : 0.7;
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
    [curves, trials, head.best, isLog, isTime]
  );
  if (curves.size === 0) {
    return null;
  }
  return (
    <Titled
      title={trans.__('%1 of each trial', head.metric)}
      unit={isTime ? trans.__('time since its beginning') : unitOf(head.step_name, trans)}
      legend={legendOf(trans.__('the best'), study, trans)}
    >
      <Canvas height={HEIGHT} label={trans.__('Curves of %1 trials', curves.size)} draw={draw} />
    </Titled>
  );
}

/** What the colours mean, those that are there. */
function legendOf(best: string, { head }: StudyModel, trans: Translator): [colour: string, meaning: string][] {
  return [
    [GREEN, best],
    [BLUE, trans.__('a trial')],
    ...(head.counts.stopped ? ([[AMBER, trans.__('a stopped trial')]] as [string, string][]) : [])
  ];
}

function isTimed(curve: TrialCurve): boolean {
  return curve.times?.length === curve.steps.length;
}

/** A curve as it is drawn: along the chosen axis, smooth, and without what a logarithmic scale has no place for. */
function drawnOf(curve: TrialCurve, { isLog, isTime }: Kind, smoothing: number): TrialCurve {
  const values = isLog ? curve.values.map(value => ((value ?? 0) > 0 ? value : null)) : curve.values;
  const steps = isTime ? (curve.times ?? []) : curve.steps;
  return { steps, values: smoothing > 0 ? smoothed(values, smoothing).map(value => value ?? null) : values };
}

/** From where to where curves go along their axis: steps from 1, or from 0 where any has such a step. */
export function reach(curves: TrialCurve[], isTime: boolean): [number, number] {
  const start = isTime ? 0 : 1;
  const first = Math.min(start, ...curves.map(curve => curve.steps[0] ?? start));
  const last = Math.max(start, ...curves.map(curve => curve.steps.at(-1) ?? start));
  return [first, Math.max(first + 1, last)];
}

export function unitOf(step: 'epoch' | 'step', trans: Translator): string {
  return step === 'epoch' ? trans.__('epochs') : trans.__('steps');
}

/** Bounds of an axis; those of a logarithmic one are positive. */
function boundsOf(values: number[], isLog: boolean): [number, number] {
  if (!isLog) {
    return bounds(values);
  }
  const positive = values.filter(value => value > 0);
  const [low, high] = [Math.min(...positive), Math.max(...positive)];
  return positive.length ? [low / 1.1, high * 1.1] : [0.1, 1];
}

interface TitledProps {
  title: string;
  unit: string;
  /** What the colours mean. */
  legend?: [colour: string, meaning: string][];
  children: ReactNode;
}

function Titled({ title, unit, legend = [], children }: TitledProps): ReactNode {
  return (
    <figure className="hops-chart">
      <figcaption>
        <bdi className="hops-chart-title">{title}</bdi>
        <span className="hops-faint">{unit}</span>
      </figcaption>
      {legend.length > 0 && (
        <div className="hops-legend">
          {legend.map(([colour, meaning]) => (
            <span key={meaning}>
              <i style={{ background: colour }} />
              {meaning}
            </span>
          ))}
        </div>
      )}
      {children}
    </figure>
  );
}

/** Draw axes, and cut off what is drawn beyond them. */
function axes(
  brush: Brush,
  [left, right]: [number, number],
  [low, high]: [number, number],
  { isLog, isTime }: Kind
): Scale {
  const { context, width, height, ink, grid, font } = brush;
  const to = (value: number) => (isLog ? Math.log(value) : value);
  const scale = {
    x: (value: number) => LEFT + ((value - left) / (right - left)) * (width - LEFT - RIGHT),
    y: (value: number) => TOP + ((to(high) - to(value)) / (to(high) - to(low))) * (height - TOP - BOTTOM)
  };
  context.font = font;
  context.fillStyle = ink;
  context.strokeStyle = grid;
  context.lineWidth = 1;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const value of isLog ? logTicks(low, high) : ticks(low, high)) {
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
      context.fillText(isTime ? duration(value) : String(value), scale.x(value), height - BOTTOM / 2);
    }
  }
  context.beginPath();
  context.rect(LEFT, TOP - 3, width - LEFT - RIGHT + 3, height - TOP - BOTTOM + 6);
  context.clip();
  return scale;
}
