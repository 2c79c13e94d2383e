import { type KeyboardEvent, type ReactNode, type UIEvent, useId, useLayoutEffect, useRef, useState } from 'react';
import type { Display, Output as RankOutput } from '../model';
import { useTranslator } from '../translate';
import { AnsiText } from './AnsiText';
import { Displayed } from './Displayed';

interface Props {
  output: Record<number, RankOutput>;
  displays: Display[];
}

/** What ranks wrote and displayed, a tab each. */
export function Output({ output, displays }: Props): ReactNode {
  const trans = useTranslator();
  const id = useId();
  const [chosen, setChosen] = useState<number | null>(null);
  const tabs = useRef<HTMLDivElement>(null);
  const ranks = [...new Set([...Object.keys(output).map(Number), ...displays.map(shown => shown.rank)])].sort(
    (a, b) => a - b
  );
  const first = ranks[0];
  if (first === undefined) {
    return null;
  }
  const rank = chosen !== null && ranks.includes(chosen) ? chosen : first;
  const onKeyDown = (event: KeyboardEvent) => {
    const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (by) {
      const next = (ranks.indexOf(rank) + by + ranks.length) % ranks.length;
      setChosen(ranks[next] ?? rank);
      tabs.current?.querySelectorAll<HTMLElement>('[role=tab]')[next]?.focus();
      // the notebook would move between cells
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <section className="hops-output">
      <div
        className="hops-tabs"
        role="tablist"
        aria-label={trans.__('Output of ranks')}
        ref={tabs}
        onKeyDown={onKeyDown}
      >
        {ranks.map(each => (
          <button
            key={each}
            type="button"
            role="tab"
            id={`${id}-tab-${each}`}
            aria-selected={each === rank}
            aria-controls={`${id}-panel`}
            tabIndex={each === rank ? 0 : -1}
            onClick={() => {
              setChosen(each);
            }}
          >
            {trans.__('rank %1', each)}
            {output[each]?.parts.some(([stream]) => stream === 'stderr') && (
              <span className="hops-dot" title={trans.__('wrote to stderr')} />
            )}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-tab-${rank}`}>
        <RankPanel key={rank} output={output[rank]} displays={displays.filter(shown => shown.rank === rank)} />
      </div>
    </section>
  );
}

function RankPanel({ output, displays }: { output: RankOutput | undefined; displays: Display[] }): ReactNode {
  const trans = useTranslator();
  const box = useRef<HTMLPreElement>(null);
  const followsEnd = useRef(true);
  useLayoutEffect(() => {
    if (box.current && followsEnd.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [output]);
  const onScroll = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: UIEvent) => {
    followsEnd.current = scrollHeight - scrollTop - clientHeight < 8;
  };
  return (
    <>
      {output && (
        <pre ref={box} dir="ltr" tabIndex={0} onScroll={onScroll}>
          {output.isCut && (
            <span className="hops-faint">{trans.__("… earlier output is in the run's record") + '\n'}</span>
          )}
          <AnsiText parts={output.parts} />
        </pre>
      )}
      {displays.map((shown, index) => (
        <Displayed key={index} display={shown} />
      ))}
    </>
  );
}
