/** The browser's end of `hops_magic.widgets.study_notebook`: folds the kernel's messages and renders. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { NoNews } from '../src/components/NoNews';
import { StudyView } from '../src/components/study/StudyView';
import { halted } from '../src/screens/experiments/quiet';
import { advanceStudy, type OpenedTrial, type StudyModel, type StudyUpdate } from '../src/study';
import { useTranslator } from '../src/translate';
import runStyle from '../style/run.css';
import style from '../style/study.css';
import { isMessage, liveWidget, Store, useSilence } from './live';

interface Shown {
  study: StudyModel | null;
  opened: ReadonlyMap<number, OpenedTrial>;
}

interface Props {
  store: Store<Shown>;
  heard_ms: () => number;
  model: AnyModel;
}

function LiveStudy({ store, heard_ms, model }: Props): ReactNode {
  const trans = useTranslator();
  const { study, opened } = useSyncExternalStore(store.subscribe, store.current);
  const since_s = useSilence(heard_ms, study?.head.is_final ?? true);
  if (!study) {
    return <div role="status">{trans.__('Waiting for the study…')}</div>;
  }
  if (since_s !== null) {
    return (
      <>
        <NoNews since_s={since_s} why={trans.__('the kernel does not answer.')} />
        <StudyView study={halted(study, since_s)} opened={opened} onOpen={() => undefined} />
      </>
    );
  }
  return (
    <StudyView
      study={study}
      opened={opened}
      onStop={() => {
        model.send({ type: 'stop' });
      }}
      onStopTrial={trial => {
        model.send({ type: 'stop-trial', trial });
      }}
      onOpen={trial => {
        model.send({ type: 'open', trial });
      }}
      onInsertBest={() => {
        model.send({ type: 'insert-best' });
      }}
    />
  );
}

export default function widget(): AnyWidget {
  const store = new Store<Shown>({ study: null, opened: new Map() });
  let heard_ms = Date.now();
  const lastHeard = () => heard_ms;
  const use = (message: unknown): boolean | null => {
    heard_ms = Date.now();
    const shown = store.current();
    if (isMessage<OpenedTrial>(message, 'trial')) {
      store.show({ ...shown, opened: new Map(shown.opened).set(message.trial, message) });
      return null;
    }
    if (!isMessage<StudyUpdate>(message, 'update')) {
      return null;
    }
    const study = advanceStudy(shown.study, message, Date.now() / 1000);
    if (study === null) {
      return false;
    }
    store.show({ ...shown, study });
    return true;
  };
  return liveWidget(use, plotStyle + runStyle + style, model => (
    <LiveStudy store={store} heard_ms={lastHeard} model={model} />
  ));
}
