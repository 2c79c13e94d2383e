/** The commits of a group; two of them are compared: rows, and distributions. */
import { useState, type ReactNode } from 'react';
import { useApp, useAsked } from '../../app';
import { path } from '../../api/client';
import type { CommitRow, DiffDocument, DriftDocument, Page, Table } from '../../api/types';
import { figure, whole } from '../../format';
import { Empty, Loaded } from '../../parts/frame';
import { DataTable, ofNumbers } from '../../parts/table';
import { Age, Line, plain } from '../../parts/text';
import type { Translator } from '../../translate';
import { Grid } from './Grid';

export function Commits({ group }: { group: string }): ReactNode {
  const { trans, open } = useApp();
  const [ends, setEnds] = useState<{ before: number | null; after: number | null }>({ before: null, after: null });
  const asked = useAsked(
    `commits ${group}`,
    api => api.get<Page<CommitRow>>(path`/groups/${group}/commits`, { limit: 200 }),
    ['features']
  );
  return (
    <Loaded asked={asked}>
      {({ items }) => {
        const after = ends.after ?? items[0]?.number ?? null;
        const before = ends.before ?? items[1]?.number ?? null;
        return (
          <div className="hops-stack">
            <DataTable
              heads={[
                ...(items.length > 1 ? [trans.__('From'), trans.__('To')] : []),
                trans.__('Commit'),
                trans.__('When'),
                trans.__('What'),
                ofNumbers(trans.__('Rows')),
                trans.__('Who'),
                trans.__('Source')
              ]}
            >
              {items.map(commit => (
                <tr key={commit.number}>
                  {items.length > 1 && (
                    <>
                      <td>
                        <input
                          type="radio"
                          name={`before ${group}`}
                          aria-label={trans.__('Compare from commit %1', commit.number)}
                          checked={commit.number === before}
                          onChange={() => {
                            setEnds({ before: commit.number, after });
                          }}
                        />
                      </td>
                      <td>
                        <input
                          type="radio"
                          name={`after ${group}`}
                          aria-label={trans.__('Compare to commit %1', commit.number)}
                          checked={commit.number === after}
                          onChange={() => {
                            setEnds({ before, after: commit.number });
                          }}
                        />
                      </td>
                    </>
                  )}
                  <th scope="row">
                    {commit.number}
                    {commit.number === 0 && <span className="hops-faint"> {trans.__('(the first)')}</span>}
                  </th>
                  <td>
                    <Age at={commit.at} />
                  </td>
                  <td>
                    {plain(commit.operation)} <span className="hops-figure hops-faint">{changesOf(commit, trans)}</span>
                  </td>
                  <td className="hops-number">{whole(commit.rows)}</td>
                  <td>
                    <Line text={commit.author} />
                  </td>
                  <td>
                    {commit.run_id ? (
                      <button
                        type="button"
                        className="hops-link"
                        onClick={() => {
                          open('run', commit.run_id);
                        }}
                      >
                        {plain(commit.run_id, 12)}
                      </button>
                    ) : (
                      <Line text={commit.source} />
                    )}
                  </td>
                </tr>
              ))}
            </DataTable>
            {before !== null && after !== null && before < after ? (
              <>
                <Difference group={group} before={before} after={after} />
                <DriftTable group={group} before={before} after={after} />
              </>
            ) : (
              items.length > 1 && (
                <p className="hops-faint">{trans.__('Choose an earlier and a later commit to compare.')}</p>
              )
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

/** What a commit did to rows, in words. */
function changesOf(commit: CommitRow, trans: Translator): string {
  return [
    commit.rows_added ? trans.__('%1 added', whole(commit.rows_added)) : '',
    commit.rows_changed ? trans.__('%1 changed', whole(commit.rows_changed)) : '',
    commit.rows_removed ? trans.__('%1 removed', whole(commit.rows_removed)) : ''
  ]
    .filter(Boolean)
    .join(', ');
}

interface Between {
  group: string;
  before: number;
  after: number;
}

function Difference({ group, before, after }: Between): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`diff ${group} ${String(before)} ${String(after)}`, api =>
    api.get<DiffDocument>(path`/groups/${group}/diff`, { before, after })
  );
  return (
    <Loaded asked={asked}>
      {diff => {
        const parts: [string, Table][] = [
          [trans.__('%1 added', whole(diff.counts.added)), diff.added],
          [trans.__('%1 changed', whole(diff.counts.changed)), diff.changed],
          [trans.__('%1 removed', whole(diff.counts.removed)), diff.removed]
        ];
        return (
          <section aria-label={trans.__('Rows that differ')}>
            <h3>{trans.__('Rows from commit %1 to %2', before, after)}</h3>
            {parts.map(([title, table]) => (
              <details key={title} className="hops-fold" open={table.rows.length > 0 && table.rows.length < 6}>
                <summary>{title}</summary>
                {table.rows.length ? <Grid table={table} label={title} /> : null}
              </details>
            ))}
          </section>
        );
      }}
    </Loaded>
  );
}

function DriftTable({ group, before, after }: Between): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`drift ${group} ${String(before)} ${String(after)}`, api =>
    api.get<DriftDocument>(path`/groups/${group}/drift`, { before, after })
  );
  return (
    <Loaded asked={asked}>
      {drift =>
        drift.columns.length ? (
          <section aria-label={trans.__('Drift')}>
            <h3>
              {trans.__('Drift')}{' '}
              <span className={`hops-verdict hops-verdict-${plain(drift.verdict)}`}>{plain(drift.verdict)}</span>
            </h3>
            <DataTable
              heads={[
                trans.__('Feature'),
                trans.__('Verdict'),
                ofNumbers('PSI'),
                ofNumbers('KS'),
                trans.__('Before and after')
              ]}
            >
              {drift.columns.map(column => (
                <tr key={column.name}>
                  <th scope="row">
                    <Line text={column.name} />
                  </th>
                  <td>
                    <span className={`hops-verdict hops-verdict-${plain(column.verdict)}`}>
                      {plain(column.verdict)}
                    </span>
                  </td>
                  <td className="hops-number">{figure(column.psi)}</td>
                  <td className="hops-number">{figure(column.ks)}</td>
                  <td>
                    <Pairs bins={column.bins} label={trans.__('Shares of %1 before and after', column.name)} />
                  </td>
                </tr>
              ))}
            </DataTable>
          </section>
        ) : (
          <Empty title={trans.__('There is no feature to compare')} />
        )
      }
    </Loaded>
  );
}

function Pairs({
  bins,
  label
}: {
  bins: { label: string; before: number; after: number }[];
  label: string;
}): ReactNode {
  const most = Math.max(1e-9, ...bins.flatMap(bin => [bin.before, bin.after]));
  const width = 100 / Math.max(1, bins.length);
  return (
    <svg className="hops-bars hops-pairs" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      {bins.map((bin, index) => (
        <g key={index}>
          <title>{`${bin.label}: ${figure(100 * bin.before)} % → ${figure(100 * bin.after)} %`}</title>
          <rect
            className="hops-before"
            x={index * width + width * 0.1}
            width={width * 0.38}
            y={24 - (24 * bin.before) / most}
            height={(24 * bin.before) / most}
          />
          <rect
            x={index * width + width * 0.5}
            width={width * 0.38}
            y={24 - (24 * bin.after) / most}
            height={(24 * bin.after) / most}
          />
        </g>
      ))}
    </svg>
  );
}
