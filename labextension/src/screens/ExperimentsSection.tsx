/** Runs and studies, newest first and live. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked, useRested } from '../app';
import { path } from '../api/client';
import type { ExperimentRow, Page, RunPage, RunRow } from '../api/types';
import { ChosenBar, useChosen } from '../parts/chosen';
import { Connection, Empty, Loaded, Snippet } from '../parts/frame';
import { Rows } from '../parts/grid';
import { usePages } from '../parts/paged';
import { plain } from '../parts/text';
import { STATES, stateName } from '../states';
import type { State } from '../model';
import { ColumnsChoice, useColumns } from './experiments/columns';
import { RunLine } from './experiments/RunLine';
import { useNow } from './experiments/useNow';

const ROW_HEIGHT = 48;
const MOST_COMPARED = 20;
const DELETED = 'deleted';

const EXAMPLE = `%%distributed -n 2
model.compile("adam", "mse")
history = model.fit(x, y, epochs=5)`;

export function ExperimentsSection({ first = '' }: { first?: string }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const act = useAction();
  const now = useNow();
  const [text, setText] = useState('');
  const [experiment, setExperiment] = useState(first);
  const [state, setState] = useState<State | typeof DELETED | ''>('');
  const [sort, setSort] = useState('-started');
  const [columns, setColumns] = useColumns();
  const selection = useChosen(MOST_COMPARED);
  const { chosen, choose } = selection;
  const rested = useRested(text);
  const experiments = useAsked('experiments', api => api.get<Page<ExperimentRow>>('/experiments'), ['runs']);
  const isAsked = Boolean(rested || experiment || state);
  const runs = usePages<RunRow>(
    JSON.stringify([rested, experiment, state, sort]),
    async (api, offset, limit) => {
      const isDeleted = state === DELETED;
      const query = {
        text: rested,
        experiment,
        state: isDeleted ? '' : state,
        deleted: isDeleted,
        sort,
        offset,
        limit
      };
      const page = await api.get<RunPage>('/runs', query);
      return { items: page.items, hasMore: page.has_more };
    },
    ['runs'],
    run => run.run_id
  );
  return (
    <section className="hops-section" aria-label={trans.__('Experiments')}>
      <Connection />
      <div className="hops-filters">
        <input
          type="search"
          className="hops-input"
          placeholder={trans.__('Search runs')}
          aria-label={trans.__('Search runs')}
          value={text}
          onChange={event => {
            setText(event.target.value);
          }}
        />
        <div className="hops-filter-row">
          <select
            className="hops-input"
            aria-label={trans.__('Experiment')}
            value={experiment}
            onChange={event => {
              setExperiment(event.target.value);
            }}
          >
            <option value="">{trans.__('All experiments')}</option>
            {(experiments.data?.items ?? []).map(each => (
              <option key={each.name} value={each.name}>
                {plain(each.name, 60)}
              </option>
            ))}
          </select>
          <select
            className="hops-input"
            aria-label={trans.__('State')}
            value={state}
            onChange={event => {
              setState(event.target.value as State | typeof DELETED | '');
            }}
          >
            <option value="">{trans.__('Any state')}</option>
            {STATES.map(each => (
              <option key={each} value={each}>
                {stateName(each, trans)}
              </option>
            ))}
            <option value={DELETED}>{trans.__('Deleted')}</option>
          </select>
          <select
            className="hops-input"
            aria-label={trans.__('Order')}
            value={sort}
            onChange={event => {
              setSort(event.target.value);
            }}
          >
            <option value="-started">{trans.__('Newest')}</option>
            <option value="started">{trans.__('Oldest')}</option>
            <option value="name">{trans.__('Name')}</option>
            <option value="state">{trans.__('State')}</option>
            {metricsOf(runs.data).flatMap(metric => [
              <option key={metric} value={metric}>
                {`${plain(metric, 40)} ↑`}
              </option>,
              <option key={`-${metric}`} value={`-${metric}`}>
                {`${plain(metric, 40)} ↓`}
              </option>
            ])}
          </select>
        </div>
        <ColumnsChoice runs={runs.data} columns={columns} onChange={setColumns} />
      </div>
      <Loaded asked={runs}>
        {items =>
          items.length ? (
            <Rows
              items={items}
              height={columns.params.length ? ROW_HEIGHT + 20 : ROW_HEIGHT}
              label={trans.__('Runs')}
              keyOf={run => run.run_id}
              onEnd={runs.more}
              onSee={runs.see}
              onOpen={run => {
                app.open(run.kind === 'study' ? 'study' : 'run', run.run_id);
              }}
              isChosen={run => chosen.has(run.run_id)}
              onChoose={run => {
                choose(run.run_id);
              }}
              render={run => (
                <RunLine
                  run={run}
                  now={now}
                  columns={columns}
                  isChosen={chosen.has(run.run_id)}
                  onChoose={() => {
                    choose(run.run_id);
                  }}
                  onStop={app.isReadOnly ? null : () => act(() => app.api.post(path`/runs/${run.run_id}/stop`))}
                  onRestore={app.isReadOnly ? null : () => act(() => app.api.post(path`/runs/${run.run_id}/restore`))}
                />
              )}
            />
          ) : isAsked ? (
            <Empty title={trans.__('No run fits')} />
          ) : (
            <Empty title={trans.__('No runs yet')}>
              <p>
                {trans.__('A cell that begins like this is trained on the cluster, and appears here while it runs:')}
              </p>
              <Snippet code={EXAMPLE} />
            </Empty>
          )
        }
      </Loaded>
      <ChosenBar label={trans.__('Chosen runs')} of={selection}>
        <button
          type="button"
          className="hops-button hops-primary"
          disabled={chosen.size < 2}
          onClick={() => {
            app.open('compare', [...chosen].join(','));
          }}
        >
          {trans.__('Compare')}
        </button>
      </ChosenBar>
    </section>
  );
}

/** Metrics by which what is shown can be sorted: those of whole runs, not of ranks or batches. */
function metricsOf(runs: RunRow[] | null): string[] {
  const names = new Set<string>();
  runs?.slice(0, 100).forEach(run => {
    Object.keys(run.metrics).forEach(name => names.add(name));
  });
  return [...names].filter(name => !name.includes('/')).slice(0, 12);
}

export default ExperimentsSection;
