/** The browser's end of `hops_magic.widgets.notebook`: folds the kernel's messages and renders. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { RunView } from '../src/components/RunView';
import { advance, type RunModel, type Update } from '../src/model';
import { useTranslator } from '../src/translate';
import style from '../style/run.css';

class RunStore {
  private _run: RunModel | null = null;
  private readonly _listeners = new Set<() => void>();

  /** Returns whether the message could be used; otherwise the whole must be asked for. */
  receive(message: Update): boolean {
    const next = advance(this._run, message, Date.now() / 1000);
    if (next === null) {
      return false;
    }
    this._run = next;
    this._listeners.forEach(listener => {
      listener();
    });
    return true;
  }

  readonly current = (): RunModel | null => this._run;

  readonly subscribe = (listener: () => void): (() => void) => {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  };
}

function LiveRun({ store, onStop }: { store: RunStore; onStop: () => void }): ReactNode {
  const trans = useTranslator();
  const run = useSyncExternalStore(store.subscribe, store.current);
  return run ? <RunView run={run} onStop={onStop} /> : <div role="status">{trans.__('Waiting for the run…')}</div>;
}

function isUpdate(message: unknown): message is Update {
  return typeof message === 'object' && message !== null && (message as { type?: unknown }).type === 'update';
}

/** One call for each widget of the kernel, which may have several views on the page. */
export default function widget(): AnyWidget {
  const store = new RunStore();
  return {
    initialize({ model }: { model: AnyModel }) {
      let isAsking = true;
      model.on('msg:custom', (message: unknown) => {
        if (!isUpdate(message)) {
          return;
        }
        const isUsed = store.receive(message);
        if (!isUsed && !isAsking) {
          model.send({ type: 'ready' });
        }
        isAsking = !isUsed;
      });
      model.send({ type: 'ready' });
    },
    render({ model, el }: { model: AnyModel; el: HTMLElement }) {
      const sheet = document.createElement('style');
      sheet.textContent = plotStyle + style;
      const place = document.createElement('div');
      el.append(sheet, place);
      const root = createRoot(place);
      root.render(
        <LiveRun
          store={store}
          onStop={() => {
            model.send({ type: 'stop' });
          }}
        />
      );
      return () => {
        root.unmount();
      };
    }
  };
}
