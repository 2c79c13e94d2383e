/** Buttons of what takes a while. */
import { useState, type ReactNode } from 'react';

interface Props {
  label: string;
  /** What it says while it is done. */
  doing: string;
  title?: string;
  className?: string;
  /** Whether somebody else does it already. */
  isDoing?: boolean;
  onClick: () => Promise<unknown>;
}

/** A button that says that it is at work, and is not pressed twice. */
export function Doing({ label, doing, title, className = 'hops-small', isDoing = false, onClick }: Props): ReactNode {
  const [isBusy, setBusy] = useState(false);
  const isAtWork = isBusy || isDoing;
  return (
    <button
      type="button"
      className={`hops-button ${className}`}
      title={title}
      disabled={isAtWork}
      onClick={() => {
        setBusy(true);
        void onClick().finally(() => {
          setBusy(false);
        });
      }}
    >
      {isAtWork ? doing : label}
    </button>
  );
}
