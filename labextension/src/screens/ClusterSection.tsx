/** The cluster in use: workers, slots, queue; start, scale, stop. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import type { Cluster, RankFigures, WorkerRow } from '../api/types';
import { amount } from '../format';
import { Connection, Empty, Loaded } from '../parts/frame';
import { Meter } from '../parts/pictures';
import { Age, Line, plain } from '../parts/text';
import type { Translator } from '../translate';
import { useNow } from './experiments/useNow';

const MOST_WORKERS = 4096;

export function ClusterSection(): ReactNode {
  const { trans } = useApp();
  const asked = useAsked('cluster', api => api.get<Cluster>('/cluster'), ['cluster']);
  return (
    <section className="hops-section hops-scroll" aria-label={trans.__('Cluster')}>
      <Connection />
      <Loaded asked={asked}>
        {cluster =>
          cluster.is_running ? <Running cluster={cluster} refresh={asked.retry} /> : <Stopped refresh={asked.retry} />
        }
      </Loaded>
    </section>
  );
}

function Stopped({ refresh }: { refresh: () => void }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const act = useAction();
  const [workers, setWorkers] = useState('');
  const [isStarting, setStarting] = useState(false);
  const start = async () => {
    setStarting(true);
    await act(() => app.api.post('/cluster/start', workers ? { workers: Number(workers) } : {}));
    setStarting(false);
    refresh();
  };
  return (
    <Empty title={trans.__('No cluster is running')}>
      <p>{trans.__('It starts by itself with the first job, as large as this machine allows.')}</p>
      {!app.isReadOnly && (
        <form
          className="hops-form"
          onSubmit={event => {
            event.preventDefault();
            void start();
          }}
        >
          <label>
            {trans.__('Workers')}{' '}
            <input
              type="number"
              className="hops-input hops-short"
              min={1}
              max={MOST_WORKERS}
              placeholder={trans.__('auto')}
              value={workers}
              onChange={event => {
                setWorkers(event.target.value);
              }}
            />
          </label>
          <button type="submit" className="hops-button hops-primary" disabled={isStarting}>
            {isStarting ? trans.__('Starting…') : trans.__('Start')}
          </button>
        </form>
      )}
    </Empty>
  );
}

function Running({ cluster, refresh }: { cluster: Cluster; refresh: () => void }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const now = useNow();
  const used = cluster.slots - cluster.slots_free;
  return (
    <>
      <dl className="hops-figures">
        <div>
          <dt>{trans.__('Slots in use')}</dt>
          <dd>
            <Meter
              share={cluster.slots ? used / cluster.slots : 0}
              label={trans.__('Slots in use')}
              text={trans.__('%1 of %2', used, cluster.slots)}
            />
          </dd>
        </div>
        <div>
          <dt>{trans.__('Kind')}</dt>
          <dd>
            {plain(cluster.kind)}
            {cluster.started_at !== null && (
              <span className="hops-faint">
                {trans.__(', started')} <Age at={cluster.started_at} now={now} />
              </span>
            )}
          </dd>
        </div>
        <div>
          <dt>{trans.__('Address')}</dt>
          <dd>
            <Line text={cluster.address} />
          </dd>
        </div>
      </dl>
      {!app.isReadOnly && <Controls cluster={cluster} refresh={refresh} />}
      <h3>{trans.__('Runs')}</h3>
      {cluster.runs.length ? (
        <ul className="hops-list">
          {cluster.runs.map(run => (
            <li key={run.run_id}>
              <button
                type="button"
                className="hops-link"
                onClick={() => {
                  app.open('run', run.run_id);
                }}
              >
                {plain(run.name || run.run_id, 60)}
              </button>
              <span className="hops-faint hops-figure">
                {run.queue_position === null
                  ? run.slots === 1
                    ? trans.__('1 slot')
                    : trans.__('%1 slots', run.slots)
                  : trans.__('waits, number %1 in the queue', run.queue_position)}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <p className="hops-faint">{trans.__('Nothing runs or waits.')}</p>
      )}
      <h3>{trans.__('Workers')}</h3>
      <ul className="hops-list">
        {cluster.workers.map(worker => (
          <Worker key={worker.address} worker={worker} />
        ))}
      </ul>
    </>
  );
}

function Worker({ worker }: { worker: WorkerRow }): ReactNode {
  const { trans } = useApp();
  const limit = worker.memory_limit_bytes;
  const memory = limit ? `${amount(worker.memory_bytes)} / ${amount(limit)}` : amount(worker.memory_bytes);
  return (
    <li className="hops-worker">
      <div className="hops-group-head">
        <Line
          text={/^\d+$/.test(worker.name) ? trans.__('worker %1', worker.name) : worker.name}
          className="hops-strong"
        />
        <span className="hops-spacer" />
        <span className="hops-faint hops-figure">
          {trans.__('%1 of %2 slots free', worker.slots_free, worker.slots)}
        </span>
      </div>
      {worker.gpus.length > 0 && <Line text={trans.__('GPU %1', worker.gpus.join(', '))} className="hops-faint" />}
      <Meter
        share={(worker.cpu_percent ?? 0) / (100 * Math.max(1, worker.threads))}
        label={trans.__('CPU of %1', plain(worker.name, 60))}
        text={trans.__('CPU %1 %', Math.round(worker.cpu_percent ?? 0))}
      />
      <Meter
        share={limit ? worker.memory_bytes / limit : null}
        label={trans.__('Memory of %1', plain(worker.name, 60))}
        text={memory}
        isScarce={true}
      />
      {worker.in_ranks.ranks > 0 && <Line text={inRanks(worker.in_ranks, trans)} className="hops-faint" />}
    </li>
  );
}

/** What the ranks on a worker use: they are processes of their own. */
export function inRanks(used: RankFigures, trans: Translator): string {
  const { ranks, cpu_percent, memory_bytes, gpu_percent, gpu_memory_bytes } = used;
  return [
    ranks === 1 ? trans.__('1 rank') : trans.__('%1 ranks', ranks),
    cpu_percent === null ? '' : trans.__('CPU %1 %', Math.round(cpu_percent)),
    memory_bytes === null ? '' : amount(memory_bytes),
    gpu_percent === null ? '' : trans.__('GPU %1 %', Math.round(gpu_percent)),
    gpu_memory_bytes === null ? '' : trans.__('%1 on GPUs', amount(gpu_memory_bytes))
  ]
    .filter(Boolean)
    .join(' · ');
}

function Controls({ cluster, refresh }: { cluster: Cluster; refresh: () => void }): ReactNode {
  const app = useApp();
  const { trans, api } = app;
  const act = useAction();
  // what somebody types stays until it is asked for; else it is what the cluster has
  const [typed, setTyped] = useState<string | null>(null);
  const workers = typed ?? String(cluster.workers.length);
  const [isBusy, setBusy] = useState(false);
  const during = async (action: () => Promise<unknown>) => {
    setBusy(true);
    await act(action);
    setBusy(false);
    refresh();
  };
  const stop = async () => {
    const body = cluster.runs.length
      ? cluster.runs.length === 1
        ? trans.__('A run goes on and would be ended with it.')
        : trans.__('%1 runs go on and would be ended with it.', cluster.runs.length)
      : trans.__('It starts again with the next job.');
    if (await app.confirm(trans.__('Stop the cluster?'), body, trans.__('Stop'))) {
      await during(() => api.post('/cluster/stop', { force: cluster.runs.length > 0 }));
    }
  };
  const dashboard = cluster.dashboard_proxy ?? '';
  return (
    <form
      className="hops-form"
      onSubmit={event => {
        event.preventDefault();
        void during(() => api.post('/cluster/scale', { workers: Number(workers) })).then(() => {
          setTyped(null);
        });
      }}
    >
      <label>
        {trans.__('Workers')}{' '}
        <input
          type="number"
          className="hops-input hops-short"
          min={1}
          max={MOST_WORKERS}
          required
          value={workers}
          onChange={event => {
            setTyped(event.target.value);
          }}
        />
      </label>
      <button
        type="submit"
        className="hops-button"
        disabled={isBusy || !workers || Number(workers) === cluster.workers.length}
      >
        {isBusy ? trans.__('Working…') : trans.__('Scale')}
      </button>
      <button type="button" className="hops-button hops-danger" disabled={isBusy} onClick={() => void stop()}>
        {trans.__('Stop')}
      </button>
      {dashboard && (
        <button
          type="button"
          className="hops-button"
          onClick={() => {
            app.openPage(dashboard);
          }}
        >
          {trans.__('Dashboard')}
        </button>
      )}
    </form>
  );
}

export default ClusterSection;
