/** Text that others wrote: it is data, whatever it holds. */
import type { ReactNode } from 'react';

// control characters, and those that turn the direction of what follows

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

const ANSI = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

export function plain(text: string, most = 300): string {
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return cut.replace(ANSI, '').replace(UNSEEN, '�');
}

/** One line that is cut by its place, whole in its tooltip. */
export function Line({ text, className = '' }: { text: string; className?: string }): ReactNode {
  return (
    <bdi className={`hops-text ${className}`} title={plain(text, 2000)}>
      {plain(text)}
    </bdi>
  );
}

/** A text with a part of it marked. */
export function Marked({ text, start, end }: { text: string; start: number; end: number }): ReactNode {
  if (end <= start) {
    return <Line text={text} />;
  }
  return (
    <bdi className="hops-text" title={plain(text, 2000)}>
      {plain(text.slice(0, start))}
      <mark>{plain(text.slice(start, end))}</mark>
      {plain(text.slice(end))}
    </bdi>
  );
}

/** Marks where a text holds one of some words. */
export function marks(text: string, query: string): { start: number; end: number } {
  const folded = text.toLocaleLowerCase();
  for (const word of query.toLocaleLowerCase().split(/\s+/)) {
    const start = word ? folded.indexOf(word) : -1;
    if (start >= 0) {
      return { start, end: start + word.length };
    }
  }
  return { start: 0, end: 0 };
}

const STEPS: [seconds: number, unit: Intl.RelativeTimeFormatUnit][] = [
  [60, 'second'],
  [3600, 'minute'],
  [86400, 'hour'],
  [86400 * 30, 'day'],
  [86400 * 365, 'month'],
  [Infinity, 'year']
];
const UNITS: Record<string, number> = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: 86400,
  month: 86400 * 30,
  year: 86400 * 365
};

/** `5 min. ago`, the moment itself in the tooltip. */
export function Age({ at, now = Date.now() / 1000 }: { at: number | null; now?: number }): ReactNode {
  if (at === null) {
    return null;
  }
  const moment = new Date(at * 1000);
  return (
    <time dateTime={moment.toISOString()} title={moment.toLocaleString()} className="hops-faint hops-figure">
      {age(now - at)}
    </time>
  );
}

export function age(seconds: number): string {
  if (seconds < 5) {
    return 'now';
  }
  const [, unit] = STEPS.find(([most]) => seconds < most) ?? [0, 'year' as const];
  const format = new Intl.RelativeTimeFormat('en', { style: 'narrow' });
  return format.format(-Math.floor(seconds / (UNITS[unit] ?? 1)), unit);
}
