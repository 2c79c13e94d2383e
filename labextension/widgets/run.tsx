/** The browser's end of `hops_magic.widgets.notebook`: folds the kernel's messages and renders. */
import type { AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { NoNews } from '../src/components/NoNews';
import { RunView } from '../src/components/RunView';
import { advance, type RunModel, type Update } from '../src/model';
import { halted } from '../src/screens/experiments/quiet';
import { useTranslator } from '../src/translate';
import style from '../style/run.css';
import { isMessage, liveWidget, Store, useSilence } from './live';

interface Props {
  store: Store<RunModel | null>;
  heard_ms: () => number;
  onStop: () => void;
}

function LiveRun({ store, heard_ms, onStop }: Props): ReactNode {
  const trans = useTranslator();
  const run = useSyncExternalStore(store.subscribe, store.current);
  const since_s = useSilence(heard_ms, run?.head.is_final ?? true);
  if (!run) {
    return <div role="status">{trans.__('Waiting for the run…')}</div>;
  }
  if (since_s === null) {
    return <RunView run={run} onStop={onStop} />;
  }
  return (
    <>
      <NoNews since_s={since_s} why={trans.__('the kernel does not answer.')} />
      <RunView run={halted(run, since_s)} />
    </>
  );
}

export default function widget(): AnyWidget {
  const store = new Store<RunModel | null>(null);
  let heard_ms = Date.now();
  const lastHeard = () => heard_ms;
  const use = (message: unknown): boolean | null => {
    heard_ms = Date.now();
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
      heard_ms={lastHeard}
      onStop={() => {
        model.send({ type: 'stop' });
      }}
    />
  ));
}
