/** All of one run: what the live view of its notebook shows, and what the record holds. */
import type { ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { RunDetail as Run } from '../api/types';
import { RunView } from '../components/RunView';
import { Connection, Loaded, Problem } from '../parts/frame';
import { TranslatorContext } from '../translate';
import { useLive } from './experiments/live';
import { Recorded } from './experiments/Recorded';
import { RunActions } from './experiments/RunActions';

export function RunDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`run ${id}`, api => api.get<Run>(path`/runs/${id}`), ['runs', 'models']);
  return (
    <section className="hops-detail" aria-label={trans.__('Run')}>
      <Connection />
      <Loaded asked={asked}>
        {run => (
          <>
            <RunActions run={run} />
            <Recorded
              key={run.run_id}
              run={run}
              first={{ name: 'live', label: trans.__('Progress'), content: () => <LiveRun run={run} /> }}
            />
          </>
        )}
      </Loaded>
    </section>
  );
}

function LiveRun({ run }: { run: Run }): ReactNode {
  const app = useApp();
  const act = useAction();
  const live = useLive(run.run_id);
  const stop =
    run.can_stop && !app.isReadOnly ? () => void act(() => app.api.post(path`/runs/${run.run_id}/stop`)) : undefined;
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
