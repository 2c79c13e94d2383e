import type { ReactNode } from 'react';
import type { RunModel } from '../model';
import { useTranslator } from '../translate';
import { Charts } from './Charts';
import { Header } from './Header';
import { Metrics } from './Metrics';
import { Notices } from './Notices';
import { Output } from './Output';
import { Parameters } from './Parameters';
import { Ranks } from './Ranks';
import { SafeHtml } from './SafeHtml';

interface Props {
  run: RunModel;
  /** Without it the view is read-only. */
  onStop?: () => void;
}

/** Everything about one run, live. */
export function RunView({ run, onStop }: Props): ReactNode {
  const trans = useTranslator();
  const ranks = Object.values(run.ranks).sort((a, b) => a.rank - b.rank);
  return (
    <article className="hops-run" aria-label={trans.__('Run %1', run.head.name || run.head.run_id)}>
      <Header head={run.head} skew_s={run.skew_s} onStop={onStop} />
      <Notices head={run.head} />
      <Metrics head={run.head} />
      <Charts curves={run.curves} />
      <Ranks ranks={ranks} isFinal={run.head.is_final} />
      <Output output={run.output} displays={run.displays} />
      <Footer run={run} />
    </article>
  );
}

function Footer({ run: { head } }: { run: RunModel }): ReactNode {
  const trans = useTranslator();
  const facts = [head.run_id];
  if (head.experiment) {
    facts.push(trans.__('experiment %1', head.experiment));
  }
  if (head.checkpoint) {
    facts.push(trans.__('checkpoint of epoch %1', head.checkpoint.epoch));
  }
  return (
    <footer className="hops-footer">
      <bdi>{facts.join(' · ')}</bdi>
      {Object.keys(head.parameters).length > 0 && <Parameters values={head.parameters} />}
      {head.notes.length > 0 && (
        <details>
          <summary>{trans.__('How it was carried out')}</summary>
          <ul className="hops-notes">
            {head.notes.map(note => (
              <li key={note}>
                <bdi>{note}</bdi>
              </li>
            ))}
          </ul>
        </details>
      )}
      {head.report_html && (
        <details>
          <summary>{trans.__('What travelled to the cluster')}</summary>
          <SafeHtml html={head.report_html} />
        </details>
      )}
    </footer>
  );
}
