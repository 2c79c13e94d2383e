/** All of one study: its trials live, and what the record holds. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { RunDetail, Trial } from '../api/types';
import { StudyView } from '../components/study/StudyView';
import { Connection, Loaded, Problem } from '../parts/frame';
import type { OpenedTrial } from '../study';
import { TranslatorContext } from '../translate';
import { isBeginning, useLive } from './experiments/live';
import { Recorded } from './experiments/Recorded';
import { RunActions } from './experiments/RunActions';

export function StudyDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`run ${id}`, api => api.get<RunDetail>(path`/runs/${id}`), ['runs', 'models']);
  return (
    <section className="hops-detail" aria-label={trans.__('Study')}>
      <Connection />
      {isBeginning(asked) ? (
        <LiveStudy id={id} isStoppable={true} />
      ) : (
        <Loaded asked={asked}>
          {study => (
            <>
              <RunActions run={study} />
              <Recorded
                key={study.run_id}
                run={study}
                first={{
                  name: 'live',
                  label: trans.__('Trials'),
                  content: () => <LiveStudy id={study.run_id} isStoppable={study.can_stop} />
                }}
              />
            </>
          )}
        </Loaded>
      )}
    </section>
  );
}

function LiveStudy({ id, isStoppable }: { id: string; isStoppable: boolean }): ReactNode {
  const app = useApp();
  const act = useAction();
  const live = useLive(id);
  const [opened, setOpened] = useState<ReadonlyMap<number, OpenedTrial>>(new Map());
  if (!live.study) {
    return live.error ? (
      <Problem error={live.error} retry={live.retry} />
    ) : (
      <div className="hops-loading" role="status">
        {app.trans.__('Loading…')}
      </div>
    );
  }
  const canStop = isStoppable && !app.isReadOnly;
  const { best_code: code } = live.study.head;
  return (
    <TranslatorContext.Provider value={app.trans}>
      <StudyView
        study={live.study}
        opened={opened}
        onStop={canStop ? () => void act(() => app.api.post(path`/runs/${id}/stop`)) : undefined}
        onStopTrial={
          canStop ? trial => void act(() => app.api.post(path`/runs/${id}/trials/${trial}/stop`)) : undefined
        }
        onOpen={trial =>
          void act(async () => {
            const told = await app.api.get<Trial>(path`/runs/${id}/trials/${trial}`);
            setOpened(before => new Map(before).set(trial, { type: 'trial', ...told }));
          })
        }
        onInsertBest={
          code && app.insertCode
            ? () => {
                app.insertCode?.(code);
              }
            : undefined
        }
      />
    </TranslatorContext.Provider>
  );
}

export default StudyDetail;
