import { useEffect, useState, type ReactNode } from 'react';
import { useAction, useApp } from '../../app';
import { path } from '../../api/client';
import type { Trial } from '../../api/types';
import { NoNews } from '../../components/NoNews';
import { RunView } from '../../components/RunView';
import { StudyView } from '../../components/study/StudyView';
import { Loading, Problem } from '../../parts/frame';
import type { RunModel } from '../../model';
import type { OpenedTrial, StudyModel } from '../../study';
import { TranslatorContext } from '../../translate';
import { useLive } from './live';
import { halted, useQuiet } from './quiet';

interface Props {
  id: string;
  canStop: boolean;
  /** What travelled to the cluster, where that is known. */
  report?: string;
  /** Called when the run or study has ended. */
  onEnd?: () => void;
}

/** What the notebook's live view shows, of a run or a study: whichever it turns out to be. */
export function LiveView({ id, canStop, report = '', onEnd }: Props): ReactNode {
  const app = useApp();
  const act = useAction();
  const live = useLive(id);
  const isFinal = (live.run ?? live.study)?.head.is_final ?? false;
  const quiet = useQuiet(live.news, isFinal);
  useEffect(() => {
    if (isFinal) {
      onEnd?.();
    }
  }, [isFinal, onEnd]);
  // nobody would hear it
  const mayStop = canStop && !app.isReadOnly && !quiet;
  const stop = mayStop ? () => void act(() => app.api.post(path`/runs/${id}/stop`)) : undefined;
  if (!live.run && !live.study) {
    return live.error ? <Problem error={live.error} retry={live.retry} /> : <Loading />;
  }
  const run = live.run && (quiet ? halted(live.run, quiet.since_s) : live.run);
  const study = live.study && (quiet ? halted(live.study, quiet.since_s) : live.study);
  const { trans } = app;
  return (
    <TranslatorContext.Provider value={trans}>
      {quiet && (
        <NoNews
          since_s={quiet.since_s}
          why={
            quiet.who === 'server'
              ? trans.__('the server does not answer.')
              : trans.__("the run's cluster cannot be reached from the server.")
          }
        />
      )}
      {run && <RunView run={withReport(run, report)} onStop={stop} />}
      {study && <LiveStudy id={id} study={withReport(study, report)} mayStop={mayStop} onStop={stop} />}
    </TranslatorContext.Provider>
  );
}

function withReport<Model extends RunModel | StudyModel>(model: Model, report: string): Model {
  return report ? { ...model, head: { ...model.head, report_html: report } } : model;
}

interface StudyProps {
  id: string;
  study: StudyModel;
  mayStop: boolean;
  onStop: (() => void) | undefined;
}

function LiveStudy({ id, study, mayStop, onStop }: StudyProps): ReactNode {
  const app = useApp();
  const act = useAction();
  const [opened, setOpened] = useState<ReadonlyMap<number, OpenedTrial>>(new Map());
  const { best_code: code } = study.head;
  const insert = app.insertCode;
  return (
    <StudyView
      study={study}
      opened={opened}
      onStop={onStop}
      onStopTrial={mayStop ? trial => void act(() => app.api.post(path`/runs/${id}/trials/${trial}/stop`)) : undefined}
      onOpen={trial =>
        void act(async () => {
          const told = await app.api.get<Trial>(path`/runs/${id}/trials/${trial}`);
          setOpened(before => new Map(before).set(trial, { type: 'trial', ...told }));
        })
      }
      onInsertBest={
        code && insert
          ? () => {
              insert(code);
            }
          : undefined
      }
    />
  );
}
