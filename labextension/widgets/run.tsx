/** The browser's end of `hops_magic.widgets.notebook`: folds the kernel's messages and renders. */
import type { AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { RunView } from '../src/components/RunView';
import { advance, type RunModel, type Update } from '../src/model';
import { useTranslator } from '../src/translate';
import style from '../style/run.css';
import { isMessage, liveWidget, Store } from './live';

function LiveRun({ store, onStop }: { store: Store<RunModel | null>; onStop: () => void }): ReactNode {
  const trans = useTranslator();
  const run = useSyncExternalStore(store.subscribe, store.current);
  return run ? <RunView run={run} onStop={onStop} /> : <div role="status">{trans.__('Waiting for the run…')}</div>;
}

export default function widget(): AnyWidget {
  const store = new Store<RunModel | null>(null);
  const use = (message: unknown): boolean | null => {
    if (!isMessage<Update>(message, 'update')) {
      return null;
    }
    const run = advance(store.current(), message, Date.now() / 1000);
    if (run === null) {
      return false;
    }
    store.show(run);
    return true;
  };
  return liveWidget(use, plotStyle + style, model => (
    <LiveRun
      store={store}
      onStop={() => {
        model.send({ type: 'stop' });
      }}
    />
  ));
}
