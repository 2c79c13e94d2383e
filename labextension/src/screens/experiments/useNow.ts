import { useEffect, useState } from 'react';
import { useAwake } from '../../app';

/** Seconds since the epoch, told anew now and then: ages in lists grow. */
export function useNow(every_s = 30): number {
  const isAwake = useAwake();
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    if (!isAwake) {
      return;
    }
    setNow(Date.now() / 1000);
    const timer = setInterval(() => {
      setNow(Date.now() / 1000);
    }, every_s * 1000);
    return () => {
      clearInterval(timer);
    };
  }, [every_s, isAwake]);
  return now;
}
