/** What every picture of compared runs says alike: a run's title and colour, and which metric is shown. */
import { useMemo, useState, type ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { COLOURS } from '../../components/ChartView';
import { Empty } from '../../parts/frame';
import { plain } from '../../parts/text';

/** A name that tells runs of the same name apart. */
export function titleOf(run: RunRow): string {
  return `${plain(run.name, 40)} ${run.run_id.slice(0, 4)}`;
}

/** The colour of the run at a place among those compared. */
export function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? '';
}

/** The metrics of runs, those that most of them have first. */
export function metricsOf(runs: RunRow[]): string[] {
  const counted = new Map<string, number>();
  runs.forEach(run => {
    Object.keys(run.metrics).forEach(name => counted.set(name, (counted.get(name) ?? 0) + 1));
  });
  return [...counted.keys()].sort((a, b) => (counted.get(b) ?? 0) - (counted.get(a) ?? 0) || a.localeCompare(b));
}

/** A choice of one of the runs' metrics, and what is drawn of it. */
export function OfMetric({
  runs,
  className = '',
  children
}: {
  runs: RunRow[];
  className?: string;
  children: (metric: string) => ReactNode;
}): ReactNode {
  const { trans } = useApp();
  const names = useMemo(() => metricsOf(runs), [runs]);
  const [chosen, setChosen] = useState<string | null>(null);
  const metric = chosen ?? names.find(name => name === 'val_loss') ?? names[0];
  if (metric === undefined) {
    return <Empty title={trans.__('These runs have no metrics')} />;
  }
  return (
    <div className={`hops-run ${className}`}>
      <label className="hops-field">
        {trans.__('Metric')}{' '}
        <select
          className="hops-input"
          value={metric}
          onChange={event => {
            setChosen(event.target.value);
          }}
        >
          {names.map(name => (
            <option key={name} value={name}>
              {plain(name, 60)}
            </option>
          ))}
        </select>
      </label>
      {children(metric)}
    </div>
  );
}
