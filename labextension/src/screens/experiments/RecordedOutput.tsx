import { useReducer, useRef, useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../../app';
import { path } from '../../api/client';
import type { TextPart } from '../../api/types';
import { AnsiText } from '../../components/AnsiText';
import { whole } from '../../format';
import { Empty, Loaded } from '../../parts/frame';

const PART = 100_000;
const MOST_ASKED = 1_000_000;
const MOST_KEPT = 2_000_000;
const REST_MS = 1000;

/** What ranks wrote, from the record: a rank at a time. */
export function RecordedOutput({ runId, ranks }: { runId: string; ranks: number }): ReactNode {
  const { trans } = useApp();
  const [rank, setRank] = useState(0);
  return (
    <div className="hops-stack">
      {ranks > 1 && (
        <label className="hops-field">
          {trans.__('Rank')}{' '}
          <select
            className="hops-input"
            value={rank}
            onChange={event => {
              setRank(Number(event.target.value));
            }}
          >
            {Array.from({ length: ranks }, (_, each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </label>
      )}
      <OfRank key={rank} runId={runId} rank={rank} />
    </div>
  );
}

/** The end first, earlier parts on request; of a run that lives, only what is new is asked for. */
function OfRank({ runId, rank }: { runId: string; rank: number }): ReactNode {
  const { trans, api } = useApp();
  const act = useAction();
  const kept = useRef<TextPart | null>(null);
  const [, show] = useReducer((count: number) => count + 1, 0);
  const at = path`/runs/${runId}/output`;
  const asked = useAsked(
    `output ${runId} ${String(rank)}`,
    async each => {
      const end = kept.current?.end;
      const query = end === undefined ? { rank, limit: PART } : { rank, offset: end, limit: MOST_ASKED };
      const part = await each.get<TextPart>(at, query);
      kept.current = joined(kept.current, part) ?? (await each.get<TextPart>(at, { rank, limit: PART }));
      return kept.current;
    },
    [`run/${runId}`],
    REST_MS
  );
  const askEarlier = (start: number) =>
    act(async () => {
      const offset = Math.max(0, start - PART);
      const part = await api.get<TextPart>(at, { rank, offset, limit: start - offset });
      kept.current = kept.current && (joined(part, kept.current) ?? kept.current);
      show();
    });
  return (
    <Loaded asked={asked}>
      {answer => {
        const part = kept.current ?? answer;
        if (!part.total) {
          return <Empty title={trans.__('It wrote nothing')} />;
        }
        return (
          <>
            {part.start > 0 && (
              <button type="button" className="hops-button hops-start" onClick={() => void askEarlier(part.start)}>
                {trans.__('Earlier: %1 characters before this', whole(part.start))}
              </button>
            )}
            <pre className="hops-source" dir="ltr" tabIndex={0} aria-label={trans.__('Output of rank %1', rank)}>
              <AnsiText parts={[['stdout', part.text]]} />
            </pre>
          </>
        );
      }}
    </Loaded>
  );
}

/** Two parts as one, the oldest characters beyond what is kept left out; null if the second does not follow the first. */
export function joined(first: TextPart | null, second: TextPart): TextPart | null {
  if (!first) {
    return second;
  }
  if (second.start !== first.end) {
    return null;
  }
  const excess = Math.max(0, second.end - first.start - MOST_KEPT);
  // characters of the server are whole, those of a string here may be halves
  const characters = excess
    ? Array.from(first.text + second.text)
        .slice(excess)
        .join('')
    : first.text + second.text;
  return { text: characters, start: first.start + excess, end: second.end, total: second.total };
}
