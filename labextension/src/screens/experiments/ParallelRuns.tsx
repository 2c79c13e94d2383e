import { useMemo, useState, type ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunRow } from '../../api/types';
import { Parallel } from '../../components/study/Parallel';
import { Empty } from '../../parts/frame';
import { plain } from '../../parts/text';
import type { StudyHead, StudyModel, Trial } from '../../study';

const MOST_AXES = 12;

/** Runs as lines through their parameters, the metric last. */
export function ParallelRuns({ runs }: { runs: RunRow[] }): ReactNode {
  const { trans } = useApp();
  const metrics = useMemo(() => [...new Set(runs.flatMap(run => Object.keys(run.metrics)))].sort(), [runs]);
  const [chosen, setChosen] = useState<string | null>(null);
  const metric = chosen ?? metrics.find(name => name === 'val_loss') ?? metrics[0];
  const study = useMemo(() => (metric === undefined ? null : asStudy(runs, metric)), [runs, metric]);
  if (!study || metric === undefined) {
    return <Empty title={trans.__('These runs have no metrics')} />;
  }
  if (!study.head.names.length) {
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
      <Parallel study={study} />
    </div>
  );
}

/** What the picture of a study's trials needs, made of runs: the parameters that differ are its axes. */
export function asStudy(runs: RunRow[], metric: string): StudyModel {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.params)))].filter(
    name => new Set(runs.map(run => run.params[name])).size > 1
  );
  const isLess = /loss|error|mae|mse|rmse/i.test(metric);
  const trials = runs.map((run, number): [number, Trial] => [
    number,
    {
      number,
      state: 'done',
      value: run.metrics[metric] ?? null,
      values: Object.fromEntries(names.map(name => [name, valueOf(run.params[name])])),
      step: 0,
      started_at: run.created_at,
      ended_at: run.ended_at ?? run.created_at,
      retries: 0,
      place: '',
      reason: ''
    }
  ]);
  const head = {
    names: names.slice(0, MOST_AXES),
    log_names: [],
    metric,
    direction: isLess ? 'minimize' : 'maximize',
    best: null
  } as unknown as StudyHead;
  return { seq: 0, skew_s: 0, head, trials: new Map(trials), curves: new Map() };
}

function valueOf(text: string | undefined): number | string | null {
  if (text === undefined) {
    return null;
  }
  const number = Number(text);
  return text.trim() !== '' && Number.isFinite(number) ? number : text;
}
