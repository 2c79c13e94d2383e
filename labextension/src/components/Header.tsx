import { type ReactNode, useState } from 'react';
import type { Head } from '../model';
import { stateName } from '../states';
import { useTranslator } from '../translate';
import { Clock } from './Clock';

interface Props {
  head: Head;
  skew_s: number;
  onStop?: () => void;
}

/** Name and state, where the run stands, how long it takes, and the Stop button. */
export function Header({ head, skew_s, onStop }: Props): ReactNode {
  const trans = useTranslator();
  return (
    <header className="hops-header">
      <div className="hops-headline">
        <span className={`hops-state hops-state-${head.state}`} role="status">
          {stateName(head.state, trans)}
        </span>
        <bdi className="hops-name" title={head.run_id}>
          {head.name || head.run_id}
        </bdi>
        <Facts head={head} />
        <span className="hops-spacer" />
        <Clock timed={head} skew_s={skew_s} />
        {onStop && !head.is_final && <StopButton head={head} onStop={onStop} />}
      </div>
      <ProgressLine head={head} />
    </header>
  );
}

function Facts({ head }: { head: Head }): ReactNode {
  const trans = useTranslator();
  const size = head.world_size === 1 ? trans.__('1 rank') : trans.__('%1 ranks', head.world_size);
  const facts = [size, head.queue, head.is_final ? '' : head.progress, isToldBelow(head) ? '' : head.reason];
  if (head.attempt > 0) {
    facts.push(trans.__('attempt %1', head.attempt + 1));
  }
  return <bdi className="hops-facts">{facts.filter(Boolean).join(' · ')}</bdi>;
}

/** Whether the reason of an end is that of an error, which has a notice of its own. */
function isToldBelow(head: Head): boolean {
  return head.is_final && head.errors.some(error => error.headline && head.reason.startsWith(error.headline));
}

function StopButton({ head, onStop }: { head: Head; onStop: () => void }): ReactNode {
  const trans = useTranslator();
  const [isClicked, setClicked] = useState(false);
  const isStopping = isClicked || head.is_stop_requested || !head.can_stop;
  return (
    <button
      type="button"
      className="hops-stop"
      disabled={isStopping}
      title={trans.__('End all ranks and keep the last checkpoint')}
      onClick={() => {
        setClicked(true);
        onStop();
      }}
    >
      {isStopping ? trans.__('Stopping…') : trans.__('Stop')}
    </button>
  );
}

function ProgressLine({ head }: { head: Head }): ReactNode {
  const trans = useTranslator();
  const fraction = head.state === 'done' ? 1 : head.fraction;
  const isWaiting = fraction === null && !head.is_final;
  return (
    <div
      className={`hops-line hops-line-${head.state} ${isWaiting ? 'hops-waiting' : ''}`}
      role="progressbar"
      aria-label={trans.__('Progress of the run')}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={fraction === null ? undefined : Math.round(fraction * 100)}
    >
      <div style={{ width: `${(fraction ?? 0) * 100}%` }} />
    </div>
  );
}
