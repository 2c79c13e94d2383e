/** Small pictures in lists. */
import type { ReactNode } from 'react';
import type { Sketch } from '../api/types';
import { Line } from './text';

const MOST_NAMED = 4;

/** A distribution as bars; what each stands for is in its tooltip. */
export function Bars({
  sketch,
  label
}: {
  sketch: Pick<Sketch, 'labels' | 'counts'> | null;
  label: string;
}): ReactNode {
  if (!sketch?.counts.length) {
    return <span className="hops-bars" />;
  }
  const most = Math.max(1, ...sketch.counts);
  const width = 100 / sketch.counts.length;
  return (
    <svg className="hops-bars" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      {sketch.counts.map((count, index) => (
        <rect
          key={index}
          x={index * width + width * 0.08}
          y={24 - (22 * count) / most - (count ? 1 : 0)}
          width={width * 0.84}
          height={(22 * count) / most + (count ? 1 : 0)}
        >
          <title>{`${sketch.labels[index] ?? ''}: ${count.toLocaleString('en-US')}`}</title>
        </rect>
      ))}
    </svg>
  );
}

/** A distribution with what it reaches from and to, or the names of its bars where they are few. */
export function LabelledBars({
  sketch,
  ends,
  label
}: {
  sketch: Pick<Sketch, 'labels' | 'counts'> | null;
  /** From where to where it reaches; empty where each bar stands for a value. */
  ends: string[];
  label: string;
}): ReactNode {
  const names = ends.length ? ends : (sketch?.labels.slice(0, MOST_NAMED) ?? []);
  const more = ends.length ? 0 : (sketch?.labels.length ?? 0) - names.length;
  return (
    <>
      <Bars sketch={sketch} label={label} />
      {names.length > 0 && (
        <div className="hops-bars-ends">
          {names.map((name, index) => (
            <Line key={index} text={name} />
          ))}
          {more > 0 && <span>{`+${String(more)}`}</span>}
        </div>
      )}
    </>
  );
}

/** The course of a metric. */
export function Sparkline({ values, label }: { values: (number | null)[]; label: string }): ReactNode {
  const known = values
    .map((value, index) => [index, value] as const)
    .filter((point): point is [number, number] => point[1] !== null);
  if (known.length < 2) {
    return <span className="hops-spark" />;
  }
  const numbers = known.map(([, value]) => value);
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const points = known
    .map(([index, value]) => {
      const x = (100 * index) / (values.length - 1);
      const y = high === low ? 12 : 22 - (20 * (value - low)) / (high - low);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(' ');
  return (
    <svg className="hops-spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <polyline points={points} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}

/** A share as a bar, with what it means beside it. */
export function Meter({
  share,
  label,
  text,
  isScarce = false
}: {
  share: number | null;
  label: string;
  text: string;
  /** Whether it is a warning to be full: memory that runs out, not slots that are used. */
  isScarce?: boolean;
}): ReactNode {
  const shown = Math.min(1, Math.max(0, share ?? 0));
  return (
    <div
      className="hops-meter"
      role="meter"
      aria-label={label}
      aria-valuenow={Math.round(shown * 100)}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuetext={text}
    >
      <div className="hops-meter-bar">
        <div
          style={{ width: `${String(shown * 100)}%` }}
          className={isScarce && shown > 0.9 ? 'hops-meter-scarce' : ''}
        />
      </div>
      <span className="hops-figure hops-faint">{text}</span>
    </div>
  );
}
