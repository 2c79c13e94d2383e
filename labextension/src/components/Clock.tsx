import { type ReactNode, useEffect, useRef, useState } from 'react';
import { duration } from '../format';
import { useTranslator } from '../translate';

interface Props {
  /** A run or a study. Times are seconds since the epoch, by the kernel's clock. */
  timed: {
    /** Since when it waits, where it has not started. */
    created_at?: number;
    started_at: number | null;
    ended_at: number | null;
    remaining_s: number | null;
    is_final: boolean;
  };
  skew_s: number;
}

/** How long it has taken, and how long it still takes. */
export function Clock({ timed, skew_s }: Props): ReactNode {
  const trans = useTranslator();
  const [now, setNow] = useState(() => Date.now());
  const began_at = timed.started_at ?? (timed.is_final ? 0 : (timed.created_at ?? 0));
  const isTicking = began_at > 0 && timed.ended_at === null;
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
  // clocks of hosts are set, and told late: what was shown is never taken back
  const told = useRef({ began_at, elapsed: 0 });
  if (!began_at) {
    return null;
  }
  if (told.current.began_at !== began_at) {
    told.current = { began_at, elapsed: 0 };
  }
  told.current.elapsed = Math.max(told.current.elapsed, now / 1000 - skew_s - began_at);
  const elapsed = timed.ended_at === null ? told.current.elapsed : timed.ended_at - began_at;
  return (
    <span className="hops-clock">
      {timed.started_at === null ? trans.__('waiting %1', duration(elapsed)) : duration(elapsed)}
      {timed.remaining_s !== null && !timed.is_final && (
        <span className="hops-faint"> · {trans.__('%1 left', duration(timed.remaining_s))}</span>
      )}
    </span>
  );
}
