import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { DatasetRow, Page } from '../../api/types';
import { whole } from '../../format';
import { Problem } from '../../parts/frame';
import { usePages } from '../../parts/paged';
import { plain } from '../../parts/text';

/** Training datasets, below the groups; nothing where there are none. */
export function Datasets(): ReactNode {
  const { trans, open } = useApp();
  const asked = usePages<DatasetRow>(
    'datasets',
    async (api, offset, limit) => {
      const page = await api.get<Page<DatasetRow>>('/datasets', { offset, limit });
      return { items: page.items, hasMore: page.total > offset + page.items.length };
    },
    ['features'],
    each => each.full_name
  );
  const items = asked.data ?? [];
  if (asked.error) {
    return <Problem error={asked.error} retry={asked.retry} />;
  }
  return items.length ? (
    <details className="hops-datasets" open>
      <summary>{trans.__('Training datasets')}</summary>
      <ul className="hops-list">
        {items.map(each => (
          <li key={each.full_name}>
            <button
              type="button"
              className="hops-link"
              onClick={() => {
                open('dataset', each.full_name);
              }}
            >
              {plain(each.full_name)}
            </button>
            <span className="hops-faint hops-figure hops-text">
              {Object.entries(each.rows)
                .map(([split, rows]) => `${plain(split, 20)} ${whole(rows)}`)
                .join(', ')}
            </span>
          </li>
        ))}
      </ul>
      {asked.hasMore && (
        <button type="button" className="hops-button" onClick={asked.more}>
          {trans.__('More')}
        </button>
      )}
    </details>
  ) : null;
}
