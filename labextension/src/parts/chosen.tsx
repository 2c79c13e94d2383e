/** What a user has ticked in a list, and the bar that says what can be done with it. */
import { useCallback, useState, type ReactNode } from 'react';
import { useApp } from '../app';

export interface Chosen {
  chosen: ReadonlySet<string>;
  /** Tick what is not ticked, and the other way round; beyond `most` nothing more can be ticked. */
  choose: (id: string) => void;
  chooseNone: () => void;
}

export function useChosen(most = Infinity): Chosen {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const choose = useCallback(
    (id: string) => {
      setChosen(before => {
        const after = new Set(before);
        if (!after.delete(id) && after.size < most) {
          after.add(id);
        }
        return after;
      });
    },
    [most]
  );
  const chooseNone = useCallback(() => {
    setChosen(new Set());
  }, []);
  return { chosen, choose, chooseNone };
}

interface BarProps {
  label: string;
  of: Chosen;
  children: ReactNode;
}

export function ChosenBar({ label, of: { chosen, chooseNone }, children }: BarProps): ReactNode {
  const { trans } = useApp();
  if (!chosen.size) {
    return null;
  }
  return (
    <div className="hops-bar-bottom" role="toolbar" aria-label={label}>
      <span>{trans.__('%1 chosen', chosen.size)}</span>
      {children}
      <button type="button" className="hops-button" onClick={chooseNone}>
        {trans.__('Clear')}
      </button>
    </div>
  );
}
