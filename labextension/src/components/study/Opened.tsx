import type { ReactNode } from 'react';
import type { Chart } from '../../charts';
import type { OpenedTrial, Trial } from '../../study';
import { useTranslator } from '../../translate';
import { ChartView } from '../ChartView';
import { Parameters } from '../Parameters';

interface Props {
  trial: Trial;
  /** Null while it is being fetched. */
  told: OpenedTrial | null;
  onStop?: () => void;
  onClose: () => void;
}

/** One trial: its values, its curves, what it wrote, and its error. */
export function Opened({ trial, told, onStop, onClose }: Props): ReactNode {
  const trans = useTranslator();
  return (
    <section
      className="hops-opened"
      aria-label={trans.__('Trial %1', trial.number)}
      onKeyDown={event => {
        if (event.key === 'Escape') {
          event.stopPropagation();
          onClose();
        }
      }}
    >
      <div className="hops-headline">
        <b>{trans.__('Trial %1', trial.number)}</b>
        <bdi className="hops-facts">
          {Object.entries(trial.values)
            .map(([name, value]) => `${name}=${String(value)}`)
            .join(', ')}
        </bdi>
        <span className="hops-spacer" />
        {onStop && trial.state === 'running' && (
          <button type="button" className="hops-stop" onClick={onStop}>
            {trans.__('Stop trial')}
          </button>
        )}
        <button type="button" className="hops-act" onClick={onClose}>
          {trans.__('Close')}
        </button>
      </div>
      {trial.reason && <div className="hops-notice">{trial.reason}</div>}
      {told === null ? (
        <div role="status" className="hops-faint">
          {trans.__('Fetching what it said…')}
        </div>
      ) : (
        <Told told={told} />
      )}
    </section>
  );
}

function Told({ told }: { told: OpenedTrial }): ReactNode {
  const trans = useTranslator();
  return (
    <>
      {told.error && <pre className="hops-stderr">{told.error}</pre>}
      <div className="hops-charts">
        {chartsOf(told).map(chart => (
          <ChartView key={chart.title} chart={chart} />
        ))}
      </div>
      {told.parameters && <Parameters values={told.parameters} />}
      {told.output.map(([ranks, text]) => (
        <details key={ranks} open={told.output.length === 1}>
          <summary>{trans.__('Output of %1', ranks)}</summary>
          <pre>{text}</pre>
        </details>
      ))}
    </>
  );
}

function chartsOf(told: OpenedTrial): Chart[] {
  const groups = new Map<string, Chart>();
  for (const { metric, unit, steps, values } of told.curves) {
    const base = metric.replace(/^val_/, '');
    const chart = groups.get(base) ?? { title: base, unit: unit ?? 'step', lines: [] };
    chart.lines.push({ label: metric, curve: { metric, scope: 'user', series: 1, rank: 0, steps, values, times: [] } });
    groups.set(base, chart);
  }
  return [...groups.values()];
}
