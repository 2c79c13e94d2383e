/** Tables of names and values, and long texts. */
import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunDetail } from '../../api/types';
import { amount } from '../../format';
import { Empty } from '../../parts/frame';
import { DataTable, ofNumbers } from '../../parts/table';
import { Line, plain } from '../../parts/text';

/** Names and values; a value that is an object is shown as its parts. */
export function Facts({ facts, empty }: { facts: Record<string, unknown>; empty: string }): ReactNode {
  const rows = flat(facts);
  if (!rows.length) {
    return <Empty title={empty} />;
  }
  return (
    <table className="hops-facts-table">
      <tbody>
        {rows.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">
              <Line text={name} />
            </th>
            <td>
              <bdi>{plain(value, 2000)}</bdi>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function flat(facts: Record<string, unknown>, before = ''): [string, string][] {
  return Object.entries(facts).flatMap(([name, value]): [string, string][] => {
    if (value === null || value === undefined || value === '') {
      return [];
    }
    if (typeof value === 'object' && !Array.isArray(value)) {
      return flat(value as Record<string, unknown>, `${before}${name}.`);
    }
    return [[before + name, typeof value === 'string' ? value : JSON.stringify(value)]];
  });
}

export function Captured({ rows }: { rows: RunDetail['captured'] }): ReactNode {
  const { trans } = useApp();
  if (!rows.length) {
    return <Empty title={trans.__('Nothing travelled from the notebook')} />;
  }
  return (
    <DataTable heads={[trans.__('Name'), trans.__('Type'), ofNumbers(trans.__('Size')), trans.__('How it travelled')]}>
      {rows.map(row => (
        <tr key={row.name}>
          <th scope="row">
            <Line text={row.name} />
          </th>
          <td>
            <Line text={row.type} />
          </td>
          <td className="hops-number">{row.size_bytes === null ? '' : amount(row.size_bytes)}</td>
          <td>
            <Line text={row.how} />
          </td>
        </tr>
      ))}
    </DataTable>
  );
}

/** The cell of a run. */
export function SourceView({ code }: { code: string }): ReactNode {
  const { trans } = useApp();
  return code ? (
    <pre className="hops-source" tabIndex={0} aria-label={trans.__('Source')}>
      <bdi>{plain(code, 200_000)}</bdi>
    </pre>
  ) : (
    <Empty title={trans.__('The record has no source')} />
  );
}
