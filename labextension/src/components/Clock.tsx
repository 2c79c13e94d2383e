import { type ReactNode, useEffect, useState } from 'react';
import { duration } from '../format';
import { useTranslator } from '../translate';

interface Props {
  /** A run or a study. Times are seconds since the epoch, by the kernel's clock. */
  timed: { started_at: number | null; ended_at: number | null; remaining_s: number | null; is_final: boolean };
  skew_s: number;
}

/** How long it has taken, and how long it still takes. */
export function Clock({ timed, skew_s }: Props): ReactNode {
  const trans = useTranslator();
  const [now, setNow] = useState(() => Date.now());
  const isTicking = timed.started_at !== null && timed.ended_at === null;
  useEffect(() => {
    if (!isTicking) {
      return;
    }
    const timer = setInterval(() => {
      setNow(Date.now());
    }, 1000);
    return () => {
      clearInterval(timer);
    };
  }, [isTicking]);
  if (timed.started_at === null) {
    return null;
  }
  const elapsed = (timed.ended_at ?? now / 1000 - skew_s) - timed.started_at;
  return (
    <span className="hops-clock">
      {duration(elapsed)}
      {timed.remaining_s !== null && !timed.is_final && (
        <span className="hops-faint"> · {trans.__('%1 left', duration(timed.remaining_s))}</span>
      )}
    </span>
  );
}
