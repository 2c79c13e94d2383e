import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { duration, figure } from '../../format';
import { Sparkline } from '../../parts/pictures';
import { Age, Line } from '../../parts/text';

interface Props {
  run: RunRow;
  isChosen: boolean;
  onChoose: (() => void) | null;
  onStop: (() => void) | null;
  now: number;
}

/** A run as the list of the sidebar shows it: two lines. */
export function RunLine({ run, isChosen, onChoose, onStop, now }: Props): ReactNode {
  const { trans } = useApp();
  return (
    <div className="hops-runline">
      <div className="hops-runline-head">
        {onChoose && (
          <input
            type="checkbox"
            checked={isChosen}
            aria-label={trans.__('Choose %1 for a comparison', run.name)}
            tabIndex={-1}
            onChange={onChoose}
          />
        )}
        <i
          className={`hops-light hops-light-${run.state}`}
          role="img"
          aria-label={run.state}
          title={run.reason || run.state}
        />
        {run.kind === 'study' && <span className="hops-chip">{trans.__('study')}</span>}
        <Line text={run.name} className="hops-strong" />
        {onStop && (
          <button
            type="button"
            className="hops-button hops-small"
            onClick={onStop}
            title={trans.__('Stop %1', run.name)}
          >
            {run.state === 'stopping' ? trans.__('Stopping…') : trans.__('Stop')}
          </button>
        )}
        <Age at={run.created_at} now={now} />
      </div>
      <div className="hops-runline-more">
        {!run.is_final && run.fraction !== null ? (
          <progress max={1} value={run.fraction} aria-label={run.progress || trans.__('Progress')} />
        ) : null}
        {run.is_final ? (
          <span className="hops-faint hops-figure">
            {run.duration_s === null ? run.state : duration(run.duration_s)}
          </span>
        ) : (
          <Line text={run.progress || run.state} className="hops-faint" />
        )}
        {run.leading && (
          <>
            <span className="hops-faint hops-figure hops-metric" title={trans.__('best %1', run.leading.name)}>
              {run.leading.name} {figure(run.leading.best ?? run.leading.last)}
            </span>
            <Sparkline
              values={run.leading.values}
              label={trans.__('Course of %1, last %2', run.leading.name, figure(run.leading.last))}
            />
          </>
        )}
      </div>
    </div>
  );
}
