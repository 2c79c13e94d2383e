import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { duration, figure } from '../../format';
import { Sparkline } from '../../parts/pictures';
import { Doing } from '../../parts/doing';
import { Age, Line, plain } from '../../parts/text';
import { stateName } from '../../states';
import type { Columns } from './columns';
import { textOf } from './Said';

interface Props {
  run: RunRow;
  isChosen: boolean;
  onChoose: (() => void) | null;
  /** Resolves when it was asked for, or could not be. */
  onStop: (() => Promise<unknown>) | null;
  onRestore: (() => Promise<unknown>) | null;
  now: number;
  columns?: Columns;
}

/** A run as the list of the sidebar shows it: two lines. */
export function RunLine({ run, isChosen, onChoose, onStop, onRestore, now, columns }: Props): ReactNode {
  const { trans } = useApp();
  const state = stateName(run.state, trans);
  return (
    <div className="hops-runline">
      <div className="hops-runline-head">
        {onChoose && (
          <input
            type="checkbox"
            checked={isChosen}
            aria-label={trans.__('Choose %1 for a comparison', plain(run.name, 80))}
            tabIndex={-1}
            onChange={onChoose}
          />
        )}
        <i
          className={`hops-light hops-light-${run.state}`}
          role="img"
          aria-label={state}
          title={plain(run.reason, 1000) || state}
        />
        <Line text={run.name} className="hops-strong" />
        {Object.keys(run.tags).length > 0 && <Line text={textOf(run.tags)} className="hops-chip hops-tagged" />}
        {onStop && (run.can_stop || run.state === 'stopping') && (
          <Doing
            label={trans.__('Stop')}
            title={trans.__('Stop %1', plain(run.name, 60))}
            doing={trans.__('Stopping…')}
            isDoing={run.state === 'stopping'}
            onClick={onStop}
          />
        )}
        {onRestore && run.is_deleted && (
          <Doing
            label={trans.__('Restore')}
            title={trans.__('Restore %1', plain(run.name, 60))}
            doing={trans.__('Restoring…')}
            onClick={onRestore}
          />
        )}
        <Age at={run.created_at} now={now} />
      </div>
      <div className="hops-runline-more">
        {!run.is_final && run.fraction !== null ? (
          <progress max={1} value={run.fraction} aria-label={plain(run.progress) || trans.__('Progress')} />
        ) : null}
        {run.kind === 'study' && run.fraction === null && <span className="hops-chip">{trans.__('study')}</span>}
        {run.is_final ? (
          <span className="hops-faint hops-figure">{run.duration_s === null ? state : duration(run.duration_s)}</span>
        ) : (
          <Line text={run.progress || state} className="hops-faint" />
        )}
        {columns?.metric ? <Metric name={columns.metric} value={run.metrics[columns.metric]} /> : null}
        {run.leading && !columns?.metric && (
          <>
            <Metric name={run.leading.name} value={run.leading.best ?? run.leading.last} />
            <Sparkline
              values={run.leading.values}
              label={trans.__('Course of %1, last %2', plain(run.leading.name, 80), figure(run.leading.last))}
            />
          </>
        )}
      </div>
      {columns && columns.params.length > 0 && (
        <div className="hops-runline-more">
          <Line text={chosenOf(run, columns.params)} className="hops-faint" />
        </div>
      )}
    </div>
  );
}

/** A name that is cut where there is no room, and its value, which never is. */
function Metric({ name, value }: { name: string; value: number | null | undefined }): ReactNode {
  return (
    <span className="hops-faint hops-figure hops-metric">
      <Line text={plain(name, 80)} />
      <span>{figure(value)}</span>
    </span>
  );
}

/** The parameters that a user wants to see, those that the run has. */
function chosenOf(run: RunRow, names: string[]): string {
  return names.flatMap(name => (run.params[name] === undefined ? [] : [`${name} ${run.params[name]}`])).join(' · ');
}
