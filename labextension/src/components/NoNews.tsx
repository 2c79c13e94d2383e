import type { ReactNode } from 'react';
import { useTranslator } from '../translate';

interface Props {
  /** Seconds since the epoch, by the page's clock. */
  since_s: number;
  /** Who is silent, as a sentence. */
  why: string;
}

/** Says that what is shown stands still, and since when. */
export function NoNews({ since_s, why }: Props): ReactNode {
  const trans = useTranslator();
  const since = new Date(since_s * 1000);
  const isToday = since.toDateString() === new Date().toDateString();
  const told = isToday ? since.toLocaleTimeString() : since.toLocaleString();
  return (
    <div className="hops-notice" role="status">
      {trans.__('No news since %1: %2 The view goes on by itself when there are news.', told, why)}
    </div>
  );
}
