/** All of one run or study: what the live view of its notebook shows, and what the record holds. */
import type { ReactNode } from 'react';
import { useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { RunDetail as Run } from '../api/types';
import { Connection, Loaded } from '../parts/frame';
import { Line } from '../parts/text';
import { isBeginning } from './experiments/live';
import { LiveView } from './experiments/LiveView';
import { Recorded } from './experiments/Recorded';
import { RunActions } from './experiments/RunActions';
import { Said } from './experiments/Said';

const REST_MS = 1000;

export function RunDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(
    `run ${id}`,
    api => api.get<Run>(path`/runs/${id}`),
    run => (run ? [`run/${run.run_id}`, 'models'] : [`run/${id}`, 'runs']),
    REST_MS
  );
  const isStudy = asked.data?.kind === 'study';
  return (
    <section className="hops-detail" aria-label={isStudy ? trans.__('Study') : trans.__('Run')}>
      <Connection />
      {isBeginning(asked) ? (
        <LiveView id={id} canStop={true} />
      ) : (
        <Loaded asked={asked}>
          {run => (
            <>
              <h2>
                <Line text={run.name} />
              </h2>
              <Said key={`said ${run.run_id}`} run={run} />
              <RunActions run={run} />
              <Recorded
                key={run.run_id}
                run={run}
                first={{
                  name: 'live',
                  label: isStudy ? trans.__('Trials') : trans.__('Progress'),
                  content: () => <LiveView id={run.run_id} canStop={run.can_stop} />
                }}
              />
            </>
          )}
        </Loaded>
      )}
    </section>
  );
}

export default RunDetail;
