import { useMemo, type ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { Parallel, type ParallelLine } from '../../components/study/Parallel';
import { Empty } from '../../parts/frame';
import { OfMetric, colourOf, titleOf } from './compared';

const MOST_AXES = 12;
const NONE: string[] = [];

interface RunOfLine {
  run_id: string;
  title: string;
}

/** Runs as lines through their parameters, the metric last. */
export function ParallelRuns({ runs }: { runs: RunRow[] }): ReactNode {
  const { trans } = useApp();
  const names = useMemo(() => differing(runs), [runs]);
  if (!names.length) {
    return <Empty title={trans.__('Their parameters are the same')} />;
  }
  return (
    <OfMetric runs={runs} className="hops-study">
      {metric => <Lines runs={runs} names={names} metric={metric} />}
    </OfMetric>
  );
}

function Lines({ runs, names, metric }: { runs: RunRow[]; names: string[]; metric: string }): ReactNode {
  const { trans } = useApp();
  const lines = useMemo(() => linesOf(runs, names, metric), [runs, names, metric]);
  return (
    <>
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
    </>
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
      title: titleOf(run),
      values: Object.fromEntries(names.map(name => [name, valueOf(run.params[name])])),
      metric: value,
      colour: colourOf(index),
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
