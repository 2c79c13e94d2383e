/** All of a feature group. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { GroupDetail as Group, StatisticsDocument, Table, ValidationDocument } from '../api/types';
import { whole } from '../format';
import { Connection, Empty, Loaded, Tabs } from '../parts/frame';
import { DataTable, ofNumbers } from '../parts/table';
import { Age, Line, plain } from '../parts/text';
import { getCode, groupName } from './features/code';
import { Commits } from './features/Commits';
import { FeatureTable } from './features/FeatureTable';
import { Grid } from './features/Grid';
import { StatisticsView } from './features/StatisticsView';
import { LineagePicture } from './lineage/LineagePicture';
import type { Translator } from '../translate';

/** `id`: `teams` or `teams@1`. */
export function GroupDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`group ${id}`, api => api.get<Group>(path`/groups/${id}`), ['features']);
  return (
    <section className="hops-detail" aria-label={trans.__('Feature group')}>
      <Connection />
      <Loaded asked={asked}>
        {group => (
          <>
            <GroupHead group={group} />
            <Tabs
              key={group.full_name}
              label={trans.__('Parts of the feature group')}
              tabs={[
                {
                  name: 'features',
                  label: trans.__('Features'),
                  content: () => <FeatureTable features={group.features} />
                },
                {
                  name: 'statistics',
                  label: trans.__('Statistics'),
                  content: () => <GroupStatistics group={group} />
                },
                { name: 'preview', label: trans.__('Preview'), content: () => <Preview group={group} /> },
                { name: 'commits', label: trans.__('Commits'), content: () => <Commits group={group.full_name} /> },
                { name: 'validation', label: trans.__('Validation'), content: () => <Validation group={group} /> },
                {
                  name: 'lineage',
                  label: trans.__('Lineage'),
                  content: () => <LineagePicture kind="group" name={group.full_name} />
                }
              ]}
            />
          </>
        )}
      </Loaded>
    </section>
  );
}

function GroupHead({ group }: { group: Group }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const code = getCode([`${groupName(group)}.*`]);
  return (
    <header className="hops-detail-head">
      <div className="hops-headline">
        <h2>
          <bdi>{plain(group.name)}</bdi>
        </h2>
        <label>
          <span className="hops-faint">{trans.__('version')}</span>{' '}
          <select
            className="hops-input"
            value={group.version}
            onChange={event => {
              app.open('group', `${group.name}@${event.target.value}`);
            }}
          >
            {group.versions.map(version => (
              <option key={version} value={version}>
                {version}
              </option>
            ))}
          </select>
        </label>
        {group.tags.map(tag => (
          <span key={tag} className="hops-chip">
            <Line text={tag} />
          </span>
        ))}
        <span className="hops-spacer" />
        <button
          type="button"
          className="hops-button hops-primary"
          onClick={() => {
            (app.insertCode ?? app.copy)(code);
          }}
        >
          {app.insertCode ? trans.__('Insert %features get') : trans.__('Copy %features get')}
        </button>
      </div>
      <Description group={group} />
      <p className="hops-faint hops-figure">
        {[
          trans.__('%1 rows', whole(group.rows)),
          trans.__('key %1', group.primary_key.map(name => plain(name, 60)).join(', ')),
          ...(group.event_time ? [trans.__('event time %1', plain(group.event_time, 60))] : []),
          ...(group.partition_by.length ? [trans.__('partitions %1', group.partition_by.join(', '))] : []),
          ...group.foreign_keys.map(key => plain(key, 100)),
          trans.__('by %1', plain(group.author, 60))
        ].join(' · ')}{' '}
        · <Age at={group.updated_at} />
      </p>
    </header>
  );
}

function Description({ group }: { group: Group }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const act = useAction();
  const [text, setText] = useState<string | null>(null);
  if (text === null) {
    return (
      <p>
        <bdi>{plain(group.description, 5000) || <span className="hops-faint">{trans.__('No description')}</span>}</bdi>{' '}
        {!app.isReadOnly && (
          <button
            type="button"
            className="hops-link"
            onClick={() => {
              setText(group.description);
            }}
          >
            {trans.__('Edit')}
          </button>
        )}
      </p>
    );
  }
  return (
    <form
      className="hops-form"
      onSubmit={event => {
        event.preventDefault();
        void act(() => app.api.patch(path`/groups/${group.full_name}`, { description: text })).then(isDone => {
          if (isDone) {
            setText(null);
          }
        });
      }}
    >
      <textarea
        className="hops-input"
        aria-label={trans.__('Description')}
        rows={3}
        value={text}
        onChange={event => {
          setText(event.target.value);
        }}
      />
      <button type="submit" className="hops-button hops-primary">
        {trans.__('Save')}
      </button>
      <button
        type="button"
        className="hops-button"
        onClick={() => {
          setText(null);
        }}
      >
        {trans.__('Cancel')}
      </button>
    </form>
  );
}

function GroupStatistics({ group }: { group: Group }): ReactNode {
  const asked = useAsked(`statistics ${group.full_name} ${String(group.commit)}`, api =>
    api.get<StatisticsDocument>(path`/groups/${group.full_name}/statistics`)
  );
  return <Loaded asked={asked}>{({ statistics }) => <StatisticsView statistics={statistics} />}</Loaded>;
}

const PAGE = 50;

function Preview({ group }: { group: Group }): ReactNode {
  const { trans } = useApp();
  const [sort, setSort] = useState('');
  const [offset, setOffset] = useState(0);
  const asked = useAsked(`preview ${group.full_name} ${String(group.commit)} ${sort} ${String(offset)}`, api =>
    api.get<Table>(path`/groups/${group.full_name}/preview`, { sort, offset, limit: PAGE })
  );
  return (
    <Loaded asked={asked}>
      {table => (
        <div className="hops-stack">
          <Grid
            table={table}
            label={trans.__('Rows of %1', group.full_name)}
            sort={sort}
            onSort={next => {
              setSort(next);
              setOffset(0);
            }}
          />
          <div className="hops-pager">
            <button
              type="button"
              className="hops-button"
              disabled={!offset}
              onClick={() => {
                setOffset(Math.max(0, offset - PAGE));
              }}
            >
              {trans.__('Before')}
            </button>
            <span className="hops-figure hops-faint">
              {trans.__(
                'rows %1 to %2 of %3',
                whole(offset + (table.rows.length ? 1 : 0)),
                whole(offset + table.rows.length),
                whole(table.total)
              )}
            </span>
            <button
              type="button"
              className="hops-button"
              disabled={offset + table.rows.length >= table.total}
              onClick={() => {
                setOffset(offset + PAGE);
              }}
            >
              {trans.__('After')}
            </button>
          </div>
        </div>
      )}
    </Loaded>
  );
}

function Validation({ group }: { group: Group }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(
    `validation ${group.full_name} ${String(group.commit)}`,
    api => api.get<ValidationDocument>(path`/groups/${group.full_name}/validation`),
    ['features']
  );
  return (
    <Loaded asked={asked}>
      {found => (
        <div className="hops-stack">
          {found.results.length ? (
            <DataTable
              heads={[
                trans.__('Rule'),
                trans.__('Now'),
                ofNumbers(trans.__('Rows that break it')),
                trans.__('For example')
              ]}
            >
              {found.results.map(result => (
                <tr key={result.rule}>
                  <th scope="row">
                    <Line text={result.rule} />
                  </th>
                  <td>
                    <span className={`hops-verdict hops-verdict-${result.passed ? 'stable' : 'major'}`}>
                      {result.passed ? trans.__('holds') : trans.__('broken')}
                    </span>
                  </td>
                  <td className="hops-number">{whole(result.failing)}</td>
                  <td>
                    <Line text={result.found || result.samples.map(sample => JSON.stringify(sample)).join(' ')} />
                  </td>
                </tr>
              ))}
            </DataTable>
          ) : (
            <Empty title={trans.__('This group has no rules')}>
              <p className="hops-faint">{trans.__('%features rules adds some: see its -h.')}</p>
            </Empty>
          )}
          <p className="hops-faint">{onFail(found.on_fail, trans)}</p>
          {found.quarantined > 0 && <Quarantine group={group} count={found.quarantined} />}
        </div>
      )}
    </Loaded>
  );
}

function Quarantine({ group, count }: { group: Group; count: number }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`quarantine ${group.full_name} ${String(count)}`, api =>
    api.get<Table>(path`/groups/${group.full_name}/quarantine`)
  );
  const title = trans.__('%1 rows were put aside', whole(count));
  return (
    <section aria-label={title}>
      <h3>{title}</h3>
      <Loaded asked={asked}>{table => <Grid table={table} label={title} />}</Loaded>
    </section>
  );
}

/** What happens to rows that break a rule. */
function onFail(what: string, trans: Translator): string {
  return what === 'reject'
    ? trans.__('A write whose rows break a rule is refused.')
    : what === 'warn'
      ? trans.__('A write whose rows break a rule is written, with a warning.')
      : trans.__('Rows that break a rule are put aside; the others are written.');
}

export default GroupDetail;
