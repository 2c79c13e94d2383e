import { useState, type ReactNode } from 'react';
import { useAction, useApp } from '../../app';
import { path } from '../../api/client';
import type { Trial } from '../../api/types';
import { RunView } from '../../components/RunView';
import { StudyView } from '../../components/study/StudyView';
import { Loading, Problem } from '../../parts/frame';
import type { OpenedTrial, StudyModel } from '../../study';
import { TranslatorContext } from '../../translate';
import { useLive } from './live';

/** What the notebook's live view shows, of a run or a study: whichever it turns out to be. */
export function LiveView({ id, canStop }: { id: string; canStop: boolean }): ReactNode {
  const app = useApp();
  const act = useAction();
  const live = useLive(id);
  const mayStop = canStop && !app.isReadOnly;
  const stop = mayStop ? () => void act(() => app.api.post(path`/runs/${id}/stop`)) : undefined;
  if (!live.run && !live.study) {
    return live.error ? <Problem error={live.error} retry={live.retry} /> : <Loading />;
  }
  return (
    <TranslatorContext.Provider value={app.trans}>
      {live.run && <RunView run={live.run} onStop={stop} />}
      {live.study && <LiveStudy id={id} study={live.study} mayStop={mayStop} onStop={stop} />}
    </TranslatorContext.Provider>
  );
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
