/** How runs differ: tables of what is not the same, curves over each other, parallel coordinates. */
import { useMemo, useState, type ReactNode } from 'react';
import { useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { Comparison, Course, RunRow } from '../api/types';
import { ChartView } from '../components/ChartView';
import { figure } from '../format';
import { alongAxis, type Chart } from '../charts';
import { ChartControls, PLAIN } from '../components/ChartControls';
import { Connection, Empty, Loaded, Tabs } from '../parts/frame';
import { Line, plain } from '../parts/text';
import { OfMetric, colourOf, titleOf } from './experiments/compared';
import { ParallelRuns } from './experiments/ParallelRuns';
import { TranslatorContext } from '../translate';

const MOST_CURVES = 8;

/** `id`: ids of runs with commas between. */
export function CompareDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const ids = useMemo(() => id.split(','), [id]);
  const asked = useAsked(`compare ${id}`, api => api.get<Comparison>('/compare', { runs: ids }), ['runs']);
  return (
    <section className="hops-detail" aria-label={trans.__('Comparison of runs')}>
      <Connection />
      <Loaded asked={asked}>
        {found => (
          <TranslatorContext.Provider value={trans}>
            <h2>{trans.__('Comparison of %1 runs', found.runs.length)}</h2>
            <Tabs
              label={trans.__('Parts of the comparison')}
              tabs={[
                { name: 'differences', label: trans.__('Differences'), content: () => <Differences found={found} /> },
                { name: 'curves', label: trans.__('Curves'), content: () => <Curves runs={found.runs} /> },
                {
                  name: 'parallel',
                  label: trans.__('Parallel coordinates'),
                  content: () => <ParallelRuns runs={found.runs} />
                },
                { name: 'source', label: trans.__('Source'), content: () => <SourceDiff text={found.source_diff} /> }
              ]}
            />
          </TranslatorContext.Provider>
        )}
      </Loaded>
    </section>
  );
}

function Differences({ found }: { found: Comparison }): ReactNode {
  const { trans, open } = useApp();
  const parts: [string, Record<string, (string | number | null)[]>][] = [
    [trans.__('Metrics'), found.metrics],
    [trans.__('Parameters'), found.params],
    [trans.__('Captured names'), found.captured],
    [trans.__('Environment'), found.environment]
  ];
  return (
    <div className="hops-scroll">
      <table className="hops-table hops-compare">
        <thead>
          <tr>
            <th scope="col">{trans.__('Run')}</th>
            {found.runs.map((run, index) => (
              <th scope="col" key={run.run_id}>
                <i className="hops-swatch" style={{ background: colourOf(index) }} aria-hidden="true" />
                <button
                  type="button"
                  className="hops-link"
                  onClick={() => {
                    open(run.kind === 'study' ? 'study' : 'run', run.run_id);
                  }}
                >
                  {plain(run.name, 40)}
                </button>
                <div className="hops-faint">{run.run_id.slice(0, 8)}</div>
              </th>
            ))}
          </tr>
        </thead>
        {parts.map(([title, table]) => (
          <tbody key={title}>
            <tr>
              <th scope="rowgroup" colSpan={found.runs.length + 1} className="hops-part">
                {title}
                {!Object.keys(table).length && <span className="hops-faint">{` – ${trans.__('no difference')}`}</span>}
              </th>
            </tr>
            {Object.entries(table).map(([name, values]) => (
              <tr key={name}>
                <th scope="row">
                  <Line text={name} />
                </th>
                {values.map((value, index) => (
                  <td key={index}>
                    {typeof value === 'number' ? figure(value) : value === null ? '–' : <bdi>{plain(value, 500)}</bdi>}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        ))}
      </table>
    </div>
  );
}

/** The courses of a metric, a line for each run. */
function Curves({ runs }: { runs: RunRow[] }): ReactNode {
  const { trans } = useApp();
  return (
    <OfMetric runs={runs}>
      {metric => (
        <>
          <Overlaid key={metric} runs={runs.slice(0, MOST_CURVES)} metric={metric} />
          {runs.length > MOST_CURVES && (
            <p className="hops-faint">{trans.__('The first %1 runs are drawn.', MOST_CURVES)}</p>
          )}
        </>
      )}
    </OfMetric>
  );
}

function Overlaid({ runs, metric }: { runs: RunRow[]; metric: string }): ReactNode {
  const { trans } = useApp();
  const [options, setOptions] = useState(PLAIN);
  const asked = useAsked(
    `curves ${metric} ${runs.map(run => run.run_id).join()}`,
    api =>
      Promise.all(
        runs.map(async run => {
          const found = await api.get<{ items: Course[] }>(path`/runs/${run.run_id}/metrics`, { names: [metric] });
          return found.items[0] ?? null;
        })
      ),
    runs.filter(run => !run.is_final).map(run => `run/${run.run_id}`)
  );
  return (
    <Loaded asked={asked}>
      {courses => {
        const chart = overlaid(metric, runs, courses);
        return chart.lines.length ? (
          <>
            <ChartControls options={options} onChange={setOptions} axes={['', 'time']} />
            <ChartView chart={alongAxis(chart, options.axis)} options={options} />
          </>
        ) : (
          <Empty title={trans.__('No run has a course of %1', metric)} />
        );
      }}
    </Loaded>
  );
}

/** A chart with a line for each run that has the metric. */
export function overlaid(metric: string, runs: RunRow[], courses: (Course | null)[]): Chart {
  return {
    title: metric,
    unit: runs.some((run, index) => courses[index] && !run.by_epoch.includes(metric)) ? 'step' : 'epoch',
    lines: runs.flatMap((run, index) => {
      const course = courses[index];
      if (!course?.steps.length) {
        return [];
      }
      const curve = {
        metric,
        scope: 'run',
        series: 0,
        rank: 0,
        steps: course.steps,
        values: course.values,
        times: course.at
      };
      return [{ label: titleOf(run), curve, colour: index }];
    })
  };
}

function SourceDiff({ text }: { text: string }): ReactNode {
  const { trans } = useApp();
  if (!text) {
    return <Empty title={trans.__('The cells are the same')} />;
  }
  return (
    <pre className="hops-source" tabIndex={0} aria-label={trans.__('Difference of the cells')}>
      {text.split('\n').map((line, index) => (
        <span key={index} className={line.startsWith('+') ? 'hops-added' : line.startsWith('-') ? 'hops-removed' : ''}>
          <bdi>{plain(line, 2000)}</bdi>
          {'\n'}
        </span>
      ))}
    </pre>
  );
}

export default CompareDetail;
