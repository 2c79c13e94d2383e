import { useMemo, useState, type ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { COLOURS } from '../../components/ChartView';
import { Parallel, type ParallelLine } from '../../components/study/Parallel';
import { Empty } from '../../parts/frame';
import { plain } from '../../parts/text';

const MOST_AXES = 12;
const NONE: string[] = [];

interface RunOfLine {
  run_id: string;
  title: string;
}

/** Runs as lines through their parameters, the metric last. */
export function ParallelRuns({ runs }: { runs: RunRow[] }): ReactNode {
  const { trans } = useApp();
  const metrics = useMemo(() => [...new Set(runs.flatMap(run => Object.keys(run.metrics)))].sort(), [runs]);
  const [chosen, setChosen] = useState<string | null>(null);
  const metric = chosen ?? metrics.find(name => name === 'val_loss') ?? metrics[0];
  const names = useMemo(() => differing(runs), [runs]);
  const lines = useMemo(() => (metric === undefined ? [] : linesOf(runs, names, metric)), [runs, names, metric]);
  if (metric === undefined) {
    return <Empty title={trans.__('These runs have no metrics')} />;
  }
  if (!names.length) {
    return <Empty title={trans.__('Their parameters are the same')} />;
  }
  return (
    <div className="hops-run hops-study">
      <label className="hops-field">
        {trans.__('Metric')}{' '}
        <select
          className="hops-input"
          value={metric}
          onChange={event => {
            setChosen(event.target.value);
          }}
        >
          {metrics.map(name => (
            <option key={name} value={name}>
              {plain(name, 60)}
            </option>
          ))}
        </select>
      </label>
      <div className="hops-legend">
        {lines.map(line => (
          <span key={line.run_id}>
            <i style={{ background: line.colour }} />
            <bdi>{line.title}</bdi>
          </span>
        ))}
      </div>
      <Parallel
        names={names}
        logNames={NONE}
        metric={metric}
        lines={lines}
        label={trans.__('Parallel coordinates of %1 runs', lines.length)}
      />
    </div>
  );
}

/** Parameters that are not the same in all runs. */
export function differing(runs: RunRow[]): string[] {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.params)))];
  return names.filter(name => new Set(runs.map(run => run.params[name])).size > 1).slice(0, MOST_AXES);
}

/** Lines of the runs that have the metric, in the colours that their curves have. */
export function linesOf(runs: RunRow[], names: string[], metric: string): (ParallelLine & RunOfLine)[] {
  return runs.flatMap((run, index) => {
    const value = run.metrics[metric];
    if (value === undefined || value === null) {
      return [];
    }
    const line = {
      run_id: run.run_id,
      title: `${plain(run.name, 40)} ${run.run_id.slice(0, 4)}`,
      values: Object.fromEntries(names.map(name => [name, valueOf(run.params[name])])),
      metric: value,
      colour: COLOURS[index % COLOURS.length] ?? '',
      opacity: 1,
      width: 1.5
    };
    return [line];
  });
}

function valueOf(text: string | undefined): number | string | null {
  if (text === undefined) {
    return null;
  }
  const number = Number(text);
  return text.trim() !== '' && Number.isFinite(number) ? number : text;
}
