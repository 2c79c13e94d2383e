/** What surrounds content: tabs, empty states, problems with a retry, places that load later. */
import { Component, useEffect, useId, useState, type ErrorInfo, type KeyboardEvent, type ReactNode } from 'react';
import { useApp, useConnection, type Asked } from '../app';
import type { Translator } from '../translate';
import { plain } from './text';

/** What is shown where there is nothing yet: it says how to begin. */
export function Empty({ title, children }: { title: string; children?: ReactNode }): ReactNode {
  return (
    <div className="hops-empty">
      <p className="hops-empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Code that a user can copy, or put into the notebook. */
export function Snippet({ code }: { code: string }): ReactNode {
  const { trans, copy, insertCode } = useApp();
  return (
    <div className="hops-snippet">
      <pre tabIndex={0} aria-label={trans.__('Code')}>
        {code}
      </pre>
      <button
        type="button"
        className="hops-button"
        onClick={() => {
          (insertCode ?? copy)(code);
        }}
      >
        {insertCode ? trans.__('Insert') : trans.__('Copy')}
      </button>
    </div>
  );
}

export function Problem({ error, retry }: { error: { title: string; detail: string }; retry: () => void }): ReactNode {
  const { trans } = useApp();
  return (
    <div className="hops-problem" role="alert">
      <strong>{plain(error.title)}</strong>
      <span>{plain(error.detail, 2000)}</span>
      <button type="button" className="hops-button" onClick={retry}>
        {trans.__('Try again')}
      </button>
    </div>
  );
}

const SLOW_MS = 3000;

/** What is shown while the first answer is awaited; what takes long says why it may. */
export function Loading(): ReactNode {
  const { trans } = useApp();
  const [isSlow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(setSlow, SLOW_MS, true);
    return () => {
      clearTimeout(timer);
    };
  }, []);
  return (
    <div className="hops-loading" role="status">
      {trans.__('Loading…')}
      {isSlow && (
        <p>{trans.__('The first answer of a server takes a while: it opens the registry and the catalog.')}</p>
      )}
    </div>
  );
}

/** Shows an answer, or why there is none; an old answer stays while a newer one is awaited. */
export function Loaded<T>({ asked, children }: { asked: Asked<T>; children: (data: T) => ReactNode }): ReactNode {
  if (asked.error && asked.data === null) {
    return <Problem error={asked.error} retry={asked.retry} />;
  }
  if (asked.data === null) {
    return <Loading />;
  }
  return (
    <>
      {asked.error && <Problem error={asked.error} retry={asked.retry} />}
      {children(asked.data)}
    </>
  );
}

/** One line at the top while changes are not heard. */
export function Connection(): ReactNode {
  const { trans } = useApp();
  const isLive = useConnection();
  return isLive ? null : (
    <div className="hops-lost" role="status">
      {trans.__('The server does not answer: what is shown may be old.')}
    </div>
  );
}

export interface Tab {
  name: string;
  label: string;
  content: () => ReactNode;
}

/** Tabs by the pattern of WAI-ARIA: arrow keys move between them. */
export function Tabs({ tabs, label, first }: { tabs: Tab[]; label: string; first?: string }): ReactNode {
  const id = useId();
  const [chosen, setChosen] = useState(first ?? tabs[0]?.name);
  const current = tabs.find(tab => tab.name === chosen) ?? tabs[0];
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (!step || !current) {
      return;
    }
    event.preventDefault();
    const next = tabs[(tabs.indexOf(current) + step + tabs.length) % tabs.length];
    setChosen(next?.name);
    event.currentTarget.querySelector<HTMLElement>(`[data-tab="${next?.name ?? ''}"]`)?.focus();
  };
  return (
    <div className="hops-pages">
      <div role="tablist" aria-label={label} className="hops-pagelist" onKeyDown={move}>
        {tabs.map(tab => (
          <button
            type="button"
            role="tab"
            key={tab.name}
            data-tab={tab.name}
            id={`${id}-${tab.name}`}
            aria-selected={tab === current}
            aria-controls={`${id}-panel`}
            tabIndex={tab === current ? 0 : -1}
            onClick={() => {
              setChosen(tab.name);
            }}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id={`${id}-panel`}
        aria-labelledby={`${id}-${current?.name ?? ''}`}
        tabIndex={0}
        className="hops-page"
      >
        {current?.content()}
      </div>
    </div>
  );
}

/** Keeps a broken part from taking the page along. */
export class Guard extends Component<{ children: ReactNode; trans: Translator }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override componentDidCatch(error: Error, info: ErrorInfo): void {
    // eslint-disable-next-line no-console -- where a developer looks for what the user saw
    console.error('a screen of hops_magic broke', error, info.componentStack);
  }

  override render(): ReactNode {
    const { trans, children } = this.props;
    return this.state.error ? (
      <div className="hops-problem" role="alert">
        <strong>{trans.__('This view is broken')}</strong>
        <span>{plain(this.state.error.message, 500)}</span>
        <button
          type="button"
          className="hops-button"
          onClick={() => {
            this.setState({ error: null });
          }}
        >
          {trans.__('Try again')}
        </button>
      </div>
    ) : (
      children
    );
  }
}
