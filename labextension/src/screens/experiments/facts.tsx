/** Tables of names and values, and long texts. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../../app';
import { path } from '../../api/client';
import type { RunDetail, TextPart } from '../../api/types';
import { AnsiText } from '../../components/AnsiText';
import { amount } from '../../format';
import { Empty, Loaded } from '../../parts/frame';
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
    <table className="hops-table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Name')}</th>
          <th scope="col">{trans.__('Type')}</th>
          <th scope="col" className="hops-number">
            {trans.__('Size')}
          </th>
          <th scope="col">{trans.__('How it travelled')}</th>
        </tr>
      </thead>
      <tbody>
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
      </tbody>
    </table>
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

const PART = 100_000;

/** What a rank wrote, from the record: the end first, earlier parts on request. */
export function RecordedOutput({ runId, rank = 0 }: { runId: string; rank?: number }): ReactNode {
  const { trans, api } = useApp();
  const act = useAction();
  const [earlier, setEarlier] = useState<TextPart[]>([]);
  const asked = useAsked(
    `output ${runId} ${String(rank)}`,
    each => each.get<TextPart>(path`/runs/${runId}/output`, { rank, limit: PART }),
    [`run/${runId}`]
  );
  return (
    <Loaded asked={asked}>
      {last => {
        const first = earlier[0] ?? last;
        const text = [...earlier, last].map(part => part.text).join('');
        if (!last.total) {
          return <Empty title={trans.__('It wrote nothing')} />;
        }
        return (
          <>
            {first.start > 0 && (
              <button
                type="button"
                className="hops-button"
                onClick={() =>
                  void act(async () => {
                    const offset = Math.max(0, first.start - PART);
                    const query = { rank, offset, limit: first.start - offset };
                    const part = await api.get<TextPart>(path`/runs/${runId}/output`, query);
                    setEarlier(before => [part, ...before]);
                  })
                }
              >
                {trans.__('Earlier: %1 characters before this', first.start.toLocaleString('en-US'))}
              </button>
            )}
            <pre className="hops-source" dir="ltr" tabIndex={0} aria-label={trans.__('Output of rank %1', rank)}>
              <AnsiText parts={[['stdout', text]]} />
            </pre>
          </>
        );
      }}
    </Loaded>
  );
}
