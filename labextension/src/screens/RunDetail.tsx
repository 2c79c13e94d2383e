/** All of one run: what the live view of its notebook shows, and what the record holds. */
import type { ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { RunDetail as Run } from '../api/types';
import { RunView } from '../components/RunView';
import { Connection, Loaded, Problem } from '../parts/frame';
import { TranslatorContext } from '../translate';
import { isBeginning, useLive } from './experiments/live';
import { Recorded } from './experiments/Recorded';
import { RunActions } from './experiments/RunActions';

export function RunDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`run ${id}`, api => api.get<Run>(path`/runs/${id}`), ['runs', 'models']);
  return (
    <section className="hops-detail" aria-label={trans.__('Run')}>
      <Connection />
      {isBeginning(asked) ? (
        <LiveRun id={id} canStop={true} />
      ) : (
        <Loaded asked={asked}>
          {run => (
            <>
              <RunActions run={run} />
              <Recorded
                key={run.run_id}
                run={run}
                first={{
                  name: 'live',
                  label: trans.__('Progress'),
                  content: () => <LiveRun id={run.run_id} canStop={run.can_stop} />
                }}
              />
            </>
          )}
        </Loaded>
      )}
    </section>
  );
}

function LiveRun({ id, canStop }: { id: string; canStop: boolean }): ReactNode {
  const app = useApp();
  const act = useAction();
  const live = useLive(id);
  const stop = canStop && !app.isReadOnly ? () => void act(() => app.api.post(path`/runs/${id}/stop`)) : undefined;
  if (!live.run) {
    return live.error ? (
      <Problem error={live.error} retry={live.retry} />
    ) : (
      <div className="hops-loading" role="status">
        {app.trans.__('Loading…')}
      </div>
    );
  }
  return (
    <TranslatorContext.Provider value={app.trans}>
      <RunView run={live.run} onStop={stop} />
    </TranslatorContext.Provider>
  );
}

export default RunDetail;
