/** The browser's end of `hops_magic.widgets.study_notebook`: folds the kernel's messages and renders. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { StudyView } from '../src/components/study/StudyView';
import { advanceStudy, type OpenedTrial, type StudyModel, type StudyUpdate } from '../src/study';
import { useTranslator } from '../src/translate';
import runStyle from '../style/run.css';
import style from '../style/study.css';
import { isMessage, liveWidget, Store } from './live';

interface Shown {
  study: StudyModel | null;
  opened: ReadonlyMap<number, OpenedTrial>;
}

function LiveStudy({ store, model }: { store: Store<Shown>; model: AnyModel }): ReactNode {
  const trans = useTranslator();
  const { study, opened } = useSyncExternalStore(store.subscribe, store.current);
  if (!study) {
    return <div role="status">{trans.__('Waiting for the study…')}</div>;
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
  const use = (message: unknown): boolean | null => {
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
  return liveWidget(use, plotStyle + runStyle + style, model => <LiveStudy store={store} model={model} />);
}
