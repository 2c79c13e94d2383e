/** What a user wants to see of each run in the list: a metric, and parameters. */
import { useState, type ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { plain } from '../../parts/text';

export interface Columns {
  /** Empty for the leading one of each run. */
  metric: string;
  params: string[];
}

const KEY = 'hops-magic:columns';
const MOST = 40;
const NONE: Columns = { metric: '', params: [] };

/** The columns of this browser; they are there again after a reload. */
export function useColumns(): [Columns, (columns: Columns) => void] {
  const [columns, setColumns] = useState(kept);
  return [
    columns,
    next => {
      setColumns(next);
      try {
        localStorage.setItem(KEY, JSON.stringify(next));
      } catch {
        // a browser that keeps nothing shows them for as long as the page is there
      }
    }
  ];
}

function kept(): Columns {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Columns>;
    const params = Array.isArray(found.params) ? found.params.filter(each => typeof each === 'string') : [];
    return { metric: typeof found.metric === 'string' ? found.metric : '', params };
  } catch {
    return NONE;
  }
}

interface Props {
  runs: RunRow[] | null;
  columns: Columns;
  onChange: (columns: Columns) => void;
}

export function ColumnsChoice({ runs, columns, onChange }: Props): ReactNode {
  const { trans } = useApp();
  const metrics = namesOf(runs, run => run.metrics, columns.metric ? [columns.metric] : []);
  const params = namesOf(runs, run => run.params, columns.params);
  return (
    <details className="hops-columns">
      <summary>{trans.__('Columns')}</summary>
      <label className="hops-field">
        {trans.__('Metric')}{' '}
        <select
          className="hops-input"
          value={columns.metric}
          onChange={event => {
            onChange({ ...columns, metric: event.target.value });
          }}
        >
          <option value="">{trans.__('the leading one of each')}</option>
          {metrics.map(name => (
            <option key={name} value={name}>
              {plain(name, 60)}
            </option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>{trans.__('Parameters')}</legend>
        {params.map(name => (
          <label key={name}>
            <input
              type="checkbox"
              checked={columns.params.includes(name)}
              onChange={event => {
                const others = columns.params.filter(each => each !== name);
                onChange({ ...columns, params: event.target.checked ? [...others, name] : others });
              }}
            />{' '}
            <bdi>{plain(name, 60)}</bdi>
          </label>
        ))}
      </fieldset>
    </details>
  );
}

/** Names that the first runs have, and those that are chosen, whether a run has them or not. */
function namesOf(runs: RunRow[] | null, part: (run: RunRow) => object, chosen: string[]): string[] {
  const found = new Set(chosen);
  runs?.slice(0, 100).forEach(run => {
    Object.keys(part(run)).forEach(name => found.add(name));
  });
  return [...found].sort().slice(0, MOST);
}
