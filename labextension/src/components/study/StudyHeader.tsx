import { type ReactNode, useState } from 'react';
import { stateName } from '../../states';
import type { StudyHead } from '../../study';
import { useTranslator } from '../../translate';
import { Clock } from '../Clock';

interface Props {
  head: StudyHead;
  skew_s: number;
  onStop?: () => void;
}

/** Name and state, how many trials are where, how fast it goes, and the Stop button. */
export function StudyHeader({ head, skew_s, onStop }: Props): ReactNode {
  const trans = useTranslator();
  const [isClicked, setClicked] = useState(false);
  const isStopping = isClicked || head.is_stop_requested || !head.can_stop;
  const ended = head.counts.done + head.counts.stopped + head.counts.failed;
  return (
    <header className="hops-header">
      <div className="hops-headline">
        <span className={`hops-state hops-state-${head.state}`} role="status">
          {stateName(head.state, trans)}
        </span>
        <bdi className="hops-name" title={head.run_id}>
          {head.name}
        </bdi>
        <bdi className="hops-facts">{facts(head, ended, trans.__.bind(trans)).join(' · ')}</bdi>
        <span className="hops-spacer" />
        <Clock timed={head} skew_s={skew_s} />
        {onStop && !head.is_final && (
          <button
            type="button"
            className="hops-stop"
            disabled={isStopping}
            title={trans.__('End the study; what is done stays')}
            onClick={() => {
              setClicked(true);
              onStop();
            }}
          >
            {isStopping ? trans.__('Stopping…') : trans.__('Stop study')}
          </button>
        )}
      </div>
      <Bar head={head} ended={ended} />
    </header>
  );
}

function facts(
  head: StudyHead,
  ended: number,
  say: (text: string, ...values: (string | number)[]) => string
): string[] {
  const { running, stopped, failed } = head.counts;
  const byHand = head.stopped_by_hand;
  const aim = head.direction === 'minimize' ? say('minimize %1', head.metric) : say('maximize %1', head.metric);
  return [
    aim,
    head.queue,
    head.wanted ? say('%1 of %2 trials', ended, head.wanted) : say('%1 trials', ended),
    running ? say('%1 running', running) : '',
    stopped > byHand ? say('%1 stopped early', stopped - byHand) : '',
    byHand ? say('%1 stopped by hand', byHand) : '',
    failed ? say('%1 failed', failed) : '',
    head.places && !head.is_final ? say('%1 of %2 places', head.places, head.places_wanted) : '',
    head.per_minute === null ? '' : say('%1 a minute', head.per_minute),
    head.reason
  ].filter(Boolean);
}

/** What has ended, by how it ended, of all that is wanted. */
function Bar({ head, ended }: { head: StudyHead; ended: number }): ReactNode {
  const trans = useTranslator();
  const all = Math.max(head.wanted, ended + head.counts.running, 1);
  const width = (count: number) => ({ width: `${(100 * count) / all}%` });
  return (
    <div
      className="hops-line hops-parts"
      role="progressbar"
      aria-label={trans.__('Trials that ended')}
      aria-valuemin={0}
      aria-valuemax={all}
      aria-valuenow={ended}
    >
      <div className="hops-part-done" style={width(head.counts.done)} />
      <div className="hops-part-stopped" style={width(head.counts.stopped)} />
      <div className="hops-part-failed" style={width(head.counts.failed)} />
    </div>
  );
}
