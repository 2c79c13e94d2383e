import { type KeyboardEvent, type ReactNode, useMemo, useState } from 'react';
import { figure } from '../../format';
import { cell, sorted, type SortKey, type StudyModel, type Trial, type TrialState, type Value } from '../../study';
import { type Translator, useTranslator } from '../../translate';

interface Props {
  study: StudyModel;
  opened: number | null;
  onOpen: (trial: number) => void;
}

const ROW = 22;
const HEIGHT = 242;
/** Rows beyond the visible ones, so that scrolling shows no gaps. */
const SPARE = 6;
const STATES: TrialState[] = ['running', 'done', 'stopped', 'failed'];

/** All trials, sorted and filtered; only the rows in view are on the page. */
export function Table({ study, opened, onOpen }: Props): ReactNode {
  const trans = useTranslator();
  const isLess = study.head.direction === 'minimize';
  const [sort, setSort] = useState<{ key: SortKey; isDescending: boolean } | null>(null);
  const [state, setState] = useState<TrialState | ''>('');
  const [top, setTop] = useState(0);
  const { key, isDescending } = sort ?? { key: 'value', isDescending: !isLess };
  const trials = useMemo(() => sorted(study, key, isDescending, state), [study, key, isDescending, state]);
  const [hidden, setHidden] = useHidden();
  const all = useMemo(() => columnsOf(trans, study), [trans, study]);
  const columns = all.filter(column => !hidden.has(column.key));
  const hasReasons = useMemo(() => [...study.trials.values()].some(trial => trial.reason), [study.trials]);
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const shown = trials.slice(first, first + Math.ceil(HEIGHT / ROW) + 2 * SPARE);
  return (
    <section className="hops-trials">
      <div className="hops-trials-head">
        <label className="hops-faint">
          {trans.__('Trials')}{' '}
          <select
            value={state}
            onChange={event => {
              setState(event.target.value as TrialState | '');
            }}
          >
            <option value="">{trans.__('all %1', study.trials.size)}</option>
            {STATES.map(each => (
              <option key={each} value={each}>
                {`${stateName(trans, each)} ${study.head.counts[each]}`}
              </option>
            ))}
          </select>
        </label>
        <ColumnChoice columns={all.filter(column => column.key !== 'number')} hidden={hidden} onChange={setHidden} />
      </div>
      <div
        className="hops-scroll"
        style={{ maxHeight: HEIGHT }}
        tabIndex={0}
        role="region"
        aria-label={trans.__('Table of trials')}
        onKeyDown={moveFocus}
        onScroll={event => {
          setTop(event.currentTarget.scrollTop);
        }}
      >
        <table>
          <thead>
            <tr>
              {columns.map(column => (
                <th
                  key={column.key}
                  className={column.isText ? 'hops-left' : ''}
                  aria-sort={column.key === key ? (isDescending ? 'descending' : 'ascending') : 'none'}
                >
                  <button
                    type="button"
                    onClick={() => {
                      setSort({ key: column.key, isDescending: column.key === key && !isDescending });
                    }}
                  >
                    <bdi>{column.title}</bdi>
                    {column.key === key && (isDescending ? ' ↓' : ' ↑')}
                  </button>
                </th>
              ))}
              {hasReasons && <th className="hops-left">{trans.__('why')}</th>}
            </tr>
          </thead>
          <tbody>
            <Gap rows={first} columns={columns.length + 1} />
            {shown.map(trial => (
              <Row
                key={trial.number}
                trial={trial}
                columns={columns}
                isBest={trial.number === study.head.best}
                isOpen={trial.number === opened}
                hasReasons={hasReasons}
                onOpen={onOpen}
              />
            ))}
            <Gap rows={trials.length - first - shown.length} columns={columns.length + 1} />
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Arrow keys lead from a trial's button to those above and below it. */
function moveFocus(event: KeyboardEvent<HTMLElement>): void {
  const row = (event.target as HTMLElement).closest('tbody tr');
  const next =
    event.key === 'ArrowDown' ? row?.nextElementSibling : event.key === 'ArrowUp' ? row?.previousElementSibling : null;
  const button = next?.querySelector<HTMLElement>('button');
  if (button) {
    event.preventDefault();
    button.focus();
  }
}

interface Column {
  key: SortKey;
  title: string;
  /** Of words, which stand at the left; numbers stand at the right. */
  isText?: boolean;
}

function columnsOf(trans: Translator, { head, trials }: StudyModel): Column[] {
  const all = [...trials.values()];
  const isText = (name: string) => all.some(trial => typeof trial.values[name] === 'string');
  return [
    { key: 'number', title: trans.__('trial') },
    { key: 'state', title: trans.__('state'), isText: true },
    { key: 'value', title: head.metric },
    ...head.names.map((name): Column => ({ key: `values.${name}`, title: name, isText: isText(name) })),
    ...head.metrics.map((name): Column => ({ key: `metrics.${name}`, title: name })),
    { key: 'step', title: head.step_name === 'epoch' ? trans.__('epoch') : trans.__('step') },
    { key: 'seconds', title: trans.__('seconds') },
    ...(all.some(trial => trial.retries) ? [{ key: 'retries', title: trans.__('retries') } as const] : [])
  ];
}

const KEY = 'hops-magic:trial-columns';

/** The columns that this browser's user does not want to see, other metrics unless asked for; kept over a reload. */
function useHidden(): [Hidden, (hidden: Hidden) => void] {
  const [hidden, setHidden] = useState<Hidden>(kept);
  return [
    hidden,
    next => {
      setHidden(next);
      try {
        localStorage.setItem(KEY, JSON.stringify([...next.named]));
      } catch {
        // a browser that keeps nothing shows them for as long as the page is there
      }
    }
  ];
}

/** Columns by what the user said of them: whatever is not named is as columns of its kind are. */
class Hidden {
  constructor(readonly named: ReadonlyMap<string, boolean>) {}

  has(key: SortKey): boolean {
    return this.named.get(key) ?? key.startsWith('metrics.');
  }

  with(key: SortKey, isHidden: boolean): Hidden {
    return new Hidden(new Map(this.named).set(key, isHidden));
  }
}

function kept(): Hidden {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? '[]') as unknown;
    const pairs = Array.isArray(found) ? found.filter((pair): pair is [string, boolean] => Array.isArray(pair)) : [];
    return new Hidden(new Map(pairs));
  } catch {
    return new Hidden(new Map());
  }
}

interface ChoiceProps {
  columns: Column[];
  hidden: Hidden;
  onChange: (hidden: Hidden) => void;
}

function ColumnChoice({ columns, hidden, onChange }: ChoiceProps): ReactNode {
  const trans = useTranslator();
  return (
    <details className="hops-column-choice">
      <summary className="hops-faint">{trans.__('Columns')}</summary>
      <fieldset>
        <legend>{trans.__('Columns of the trials')}</legend>
        {columns.map(({ key, title }) => (
          <label key={key}>
            <input
              type="checkbox"
              checked={!hidden.has(key)}
              onChange={event => {
                onChange(hidden.with(key, !event.target.checked));
              }}
            />{' '}
            <bdi>{title}</bdi>
          </label>
        ))}
      </fieldset>
    </details>
  );
}

function Gap({ rows, columns }: { rows: number; columns: number }): ReactNode {
  return rows > 0 ? (
    <tr aria-hidden="true">
      <td colSpan={columns} style={{ height: rows * ROW, padding: 0 }} />
    </tr>
  ) : null;
}

interface RowProps {
  trial: Trial;
  columns: Column[];
  isBest: boolean;
  isOpen: boolean;
  hasReasons: boolean;
  onOpen: (trial: number) => void;
}

function Row({ trial, columns, isBest, isOpen, hasReasons, onOpen }: RowProps): ReactNode {
  const trans = useTranslator();
  return (
    <tr
      className={`hops-trial-${trial.state} ${isBest ? 'hops-best' : ''} ${isOpen ? 'hops-open' : ''}`}
      style={{ height: ROW }}
      onClick={() => {
        onOpen(trial.number);
      }}
    >
      {columns.map(({ key, isText }) => (
        <td key={key} className={isText ? 'hops-left' : ''}>
          {key === 'number' ? (
            <button type="button" aria-expanded={isOpen} title={trans.__('Open trial %1', trial.number)}>
              {trial.number}
            </button>
          ) : key === 'state' ? (
            stateName(trans, trial.state)
          ) : (
            <bdi>{shown(cell(trial, key), key)}</bdi>
          )}
        </td>
      ))}
      {hasReasons && (
        <td className="hops-left hops-why" title={trial.reason}>
          <bdi>{trial.reason}</bdi>
        </td>
      )}
    </tr>
  );
}

function stateName(trans: Translator, state: TrialState): string {
  const names: Record<TrialState, string> = {
    running: trans.__('running'),
    done: trans.__('done'),
    stopped: trans.__('stopped'),
    failed: trans.__('failed')
  };
  return names[state];
}

function shown(value: Value, key: SortKey): string {
  if (value === null) {
    return '';
  }
  if (typeof value === 'string') {
    return value;
  }
  return key === 'seconds' ? value.toFixed(1) : Number.isInteger(value) ? String(value) : figure(value);
}
