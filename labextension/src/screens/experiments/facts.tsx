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
        {rows.map(([name, value], index) =>
          value === null ? (
            <tr key={index}>
              <th scope="rowgroup" colSpan={2} className="hops-part">
                <Line text={name} />
              </th>
            </tr>
          ) : (
            <tr key={index}>
              <th scope="row">
                <Line text={name} />
              </th>
              <td>
                <bdi>{plain(value, 2000)}</bdi>
              </td>
            </tr>
          )
        )}
      </tbody>
    </table>
  );
}

/** The object that a text writes down; whatever else is as it is. */
function parsed(value: unknown): unknown {
  if (typeof value !== 'string' || !value.startsWith('{')) {
    return value;
  }
  try {
    return JSON.parse(value);
  } catch {
    // a user's text, or one that was cut
    return value;
  }
}

/** Lines of a table: a name alone is the title of the lines below it, which are parts of one object. */
function flat(facts: Record<string, unknown>): [string, string | null][] {
  const known = Object.entries(facts)
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]): [string, unknown] => [name, parsed(value)]);
  const isObject = ([, value]: [string, unknown]) => typeof value === 'object' && !Array.isArray(value);
  const plain = known.filter(entry => !isObject(entry));
  return [
    ...plain.map(([name, value]): [string, string] => [
      name,
      typeof value === 'string' ? value : JSON.stringify(value)
    ]),
    ...known.filter(isObject).flatMap(([name, value]): [string, string | null][] => {
      const parts = flat(value as Record<string, unknown>);
      return parts.length ? [[name, null], ...parts] : [];
    })
  ];
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
            <bdi>{plain(row.how, 500)}</bdi>
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
