/** The browser's end of `hops_magic.widgets.study_notebook`: folds the kernel's messages and renders. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useSyncExternalStore, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { StudyView } from '../src/components/study/StudyView';
import { advanceStudy, type OpenedTrial, type StudyModel, type StudyUpdate } from '../src/study';
import { useTranslator } from '../src/translate';
import runStyle from '../style/run.css';
import style from '../style/study.css';

interface Shown {
  study: StudyModel | null;
  opened: ReadonlyMap<number, OpenedTrial>;
}

class StudyStore {
  private _shown: Shown = { study: null, opened: new Map() };
  private readonly _listeners = new Set<() => void>();

  /** Returns whether the message could be used; otherwise the whole must be asked for. */
  update(message: StudyUpdate): boolean {
    const study = advanceStudy(this._shown.study, message, Date.now() / 1000);
    if (study === null) {
      return false;
    }
    this._show({ ...this._shown, study });
    return true;
  }

  open(told: OpenedTrial): void {
    this._show({ ...this._shown, opened: new Map(this._shown.opened).set(told.trial, told) });
  }

  readonly current = (): Shown => this._shown;

  readonly subscribe = (listener: () => void): (() => void) => {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  };

  private _show(shown: Shown): void {
    this._shown = shown;
    this._listeners.forEach(listener => {
      listener();
    });
  }
}

function LiveStudy({ store, model }: { store: StudyStore; model: AnyModel }): ReactNode {
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

function isMessage(message: unknown): message is StudyUpdate | OpenedTrial {
  return typeof message === 'object' && message !== null && 'type' in message;
}

/** One call for each widget of the kernel, which may have several views on the page. */
export default function widget(): AnyWidget {
  const store = new StudyStore();
  return {
    initialize({ model }: { model: AnyModel }) {
      let isAsking = true;
      model.on('msg:custom', (message: unknown) => {
        if (!isMessage(message)) {
          return;
        }
        if (message.type === 'trial') {
          store.open(message);
          return;
        }
        const isUsed = store.update(message);
        if (!isUsed && !isAsking) {
          model.send({ type: 'ready' });
        }
        isAsking = !isUsed;
      });
      model.send({ type: 'ready' });
    },
    render({ model, el }: { model: AnyModel; el: HTMLElement }) {
      const sheet = document.createElement('style');
      sheet.textContent = plotStyle + runStyle + style;
      const place = document.createElement('div');
      el.append(sheet, place);
      const root = createRoot(place);
      root.render(<LiveStudy store={store} model={model} />);
      return () => {
        root.unmount();
      };
    }
  };
}
