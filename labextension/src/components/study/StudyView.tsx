import { type ReactNode, useState } from 'react';
import { duration, figure } from '../../format';
import type { OpenedTrial, StudyHead, StudyModel, Trial } from '../../study';
import { useTranslator } from '../../translate';
import { ChartControls, PLAIN } from '../ChartControls';
import { SafeHtml } from '../SafeHtml';
import { AllCurves, BestChart } from './Curves';
import { Opened } from './Opened';
import { ParallelTrials } from './Parallel';
import { StudyHeader } from './StudyHeader';
import { Table } from './Table';

interface Props {
  study: StudyModel;
  opened: ReadonlyMap<number, OpenedTrial>;
  onStop?: () => void;
  onStopTrial?: (trial: number) => void;
  onOpen: (trial: number) => void;
  onInsertBest?: () => void;
}

/** Everything about one study, live. */
export function StudyView({ study, opened, onStop, onStopTrial, onOpen, onInsertBest }: Props): ReactNode {
  const trans = useTranslator();
  const [chosen, setChosen] = useState<number | null>(null);
  const [options, setOptions] = useState(PLAIN);
  const { head, trials } = study;
  const trial = chosen === null ? undefined : trials.get(chosen);
  const best = head.best === null ? undefined : trials.get(head.best);
  return (
    <article className="hops-run hops-study" aria-label={trans.__('Study %1', head.name)}>
      <StudyHeader head={head} skew_s={study.skew_s} onStop={onStop} />
      <Notices head={head} />
      {head.is_ablation && <Effects head={head} />}
      {best && !head.is_ablation && <Best head={head} trial={best} onInsert={onInsertBest} />}
      {trials.size > 0 && (
        <>
          {!head.is_ablation && (
            <section aria-label={trans.__('Curves')}>
              <ChartControls options={options} onChange={setOptions} axes={['', 'time']} />
              <div className="hops-charts">
                <BestChart study={study} options={options} />
                <AllCurves study={study} options={options} />
              </div>
            </section>
          )}
          {head.names.length > 0 && !head.is_ablation && (
            <details className="hops-fold">
              <summary>{trans.__('Hyperparameters')}</summary>
              <ParallelTrials study={study} />
              <Importance shares={head.importance} />
            </details>
          )}
          <Table
            study={study}
            opened={chosen}
            onOpen={number => {
              setChosen(number === chosen ? null : number);
              onOpen(number);
            }}
          />
        </>
      )}
      {trial && (
        <Opened
          trial={trial}
          told={opened.get(trial.number) ?? null}
          onStop={
            onStopTrial &&
            (() => {
              onStopTrial(trial.number);
            })
          }
          onClose={() => {
            setChosen(null);
          }}
        />
      )}
      <Footer head={head} />
    </article>
  );
}

function Notices({ head }: { head: StudyHead }): ReactNode {
  const trans = useTranslator();
  return (
    <>
      {[...head.restarts.map(reason => trans.__('Restarted: %1', reason)), ...head.warnings].map((text, index) => (
        <div key={index} className="hops-notice">
          {text}
        </div>
      ))}
      {head.failures.map(({ trials, reason }) => (
        <div key={reason} className="hops-notice hops-notice-error">
          {trans.__('%1 failed: %2', trials, reason)}
        </div>
      ))}
    </>
  );
}

/** The best trial so far, and its values as a cell. */
export function Best({ head, trial, onInsert }: { head: StudyHead; trial: Trial; onInsert?: () => void }): ReactNode {
  const trans = useTranslator();
  const [inserted, setInserted] = useState<string | null>(null);
  const told = trans.__('best %1, trial %2', head.metric, trial.number);
  const found = trial.ended_at !== null && head.started_at !== null ? trial.ended_at - head.started_at : null;
  return (
    <div className="hops-leader">
      <dl className="hops-metrics">
        <div>
          <dt>{found === null ? told : trans.__('%1, after %2', told, duration(found))}</dt>
          <dd>{figure(trial.value)}</dd>
        </div>
        {Object.entries(trial.values).map(([name, value]) => (
          <div key={name}>
            <dt>
              <bdi>{name}</bdi>
            </dt>
            <dd>
              <bdi>{typeof value === 'number' ? (Number.isInteger(value) ? value : figure(value)) : value}</bdi>
            </dd>
          </div>
        ))}
      </dl>
      {onInsert && (
        <button
          type="button"
          className="hops-act"
          title={head.best_code}
          onClick={() => {
            onInsert();
            // where no new cell can be made, the clipboard has it
            if ('clipboard' in navigator) {
              navigator.clipboard.writeText(head.best_code).catch(() => undefined);
            }
            setInserted(head.best_code);
          }}
        >
          {inserted === null
            ? trans.__('Insert best as a cell')
            : inserted === head.best_code
              ? trans.__('Comes below, and is copied')
              : trans.__('A better one has come: insert it as a cell')}
        </button>
      )}
    </div>
  );
}

function Effects({ head }: { head: StudyHead }): ReactNode {
  const trans = useTranslator();
  const ends = head.effects.flatMap(({ difference, low, high }) => [difference ?? 0, low ?? 0, high ?? 0]);
  const [first, last] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const share = (value: number) => (100 * (value - first)) / (last - first || 1);
  if (!head.effects.length) {
    return null;
  }
  return (
    <table className="hops-importance hops-effects">
      <caption className="hops-faint">{trans.__('%1 without the component, less with it', head.metric)}</caption>
      <tbody>
        {head.effects.map(({ component, text, difference, low, high }) => (
          <tr key={component}>
            <th scope="row">
              <bdi>{component}</bdi>
            </th>
            <td>
              {difference !== null && (
                <div className="hops-effect">
                  <div
                    className="hops-effect-bar"
                    style={{
                      marginLeft: `${Math.min(share(0), share(difference))}%`,
                      width: `${Math.abs(share(difference) - share(0))}%`
                    }}
                  />
                  {low !== null && high !== null && (
                    <div
                      className="hops-effect-interval"
                      title={trans.__('95 percent interval: %1 to %2', figure(low), figure(high))}
                      style={{ left: `${share(low)}%`, width: `${share(high) - share(low)}%` }}
                    />
                  )}
                </div>
              )}
            </td>
            <td>
              <bdi>{text}</bdi>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Importance({ shares }: { shares: Record<string, number> }): ReactNode {
  const trans = useTranslator();
  const known = Object.entries(shares);
  if (!known.length) {
    return <div className="hops-faint">{trans.__('Importance is told after eight trials.')}</div>;
  }
  return (
    <table className="hops-importance">
      <caption className="hops-faint">{trans.__('Share of the differences that each explains')}</caption>
      <tbody>
        {known.map(([name, share]) => (
          <tr key={name}>
            <th scope="row">
              <bdi>{name}</bdi>
            </th>
            <td>
              <div className="hops-bar">
                <div style={{ width: `${share * 100}%` }} />
              </div>
            </td>
            <td>{`${(share * 100).toFixed(0)} %`}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Footer({ head }: { head: StudyHead }): ReactNode {
  const trans = useTranslator();
  const facts = [head.run_id, head.experiment && trans.__('experiment %1', head.experiment)];
  return (
    <footer className="hops-footer">
      <bdi>{facts.filter(Boolean).join(' · ')}</bdi>
      {head.report_html && (
        <details>
          <summary>{trans.__('What travelled to the cluster')}</summary>
          <SafeHtml html={head.report_html} />
        </details>
      )}
    </footer>
  );
}
