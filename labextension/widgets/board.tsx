/** The browser's end of `hops_magic.boards`: the sidebar's screens, which ask the kernel. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useEffect, useMemo, useRef, useState, type ComponentType, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import plotStyle from 'uplot/dist/uPlot.min.css';
import { Api } from '../src/api/client';
import { CommTransport } from '../src/api/comm';
import { AppProvider, AwakeContext, type AppContext, type DetailKind } from '../src/app';
import { Guard } from '../src/parts/frame';
import { plain } from '../src/parts/text';
import { CompareDetail } from '../src/screens/CompareDetail';
import { DatasetDetail } from '../src/screens/DatasetDetail';
import { ExperimentsSection } from '../src/screens/ExperimentsSection';
import { FeaturesSection } from '../src/screens/FeaturesSection';
import { GroupDetail } from '../src/screens/GroupDetail';
import { LineageDetail } from '../src/screens/LineageDetail';
import { ModelDetail } from '../src/screens/ModelDetail';
import { ModelsSection } from '../src/screens/ModelsSection';
import { RunDetail } from '../src/screens/RunDetail';
import { english } from '../src/translate';
import runStyle from '../style/run.css';
import screenStyle from '../style/screens.css';
import studyStyle from '../style/study.css';
import boardStyle from '../style/board.css';

type ListKind = 'experiments' | 'features' | 'models';
type Kind = DetailKind | ListKind;

interface Place {
  kind: Kind;
  id: string;
}

interface Question {
  title: string;
  body: string;
  accept: string;
  answer: (isAccepted: boolean) => void;
}

interface Told {
  message: string;
  kind: 'info' | 'error';
  action?: { label: string; run: () => void };
}

const SCREENS: Record<Kind, ComponentType<{ id: string }>> = {
  experiments: ({ id }) => <ExperimentsSection first={id} />,
  features: FeaturesSection,
  models: ModelsSection,
  group: GroupDetail,
  dataset: DatasetDetail,
  run: RunDetail,
  study: RunDetail,
  model: ModelDetail,
  compare: CompareDetail,
  lineage: LineageDetail
};
const LISTS: readonly Kind[] = ['experiments', 'features', 'models'];
/** What a board that is not read-only changes; the kernel decides, and refuses the rest. */
const CHANGED: Partial<Record<Kind, readonly Kind[]>> = {
  experiments: ['experiments', 'run', 'study'],
  features: ['features', 'group'],
  models: ['models', 'model'],
  run: ['run', 'study'],
  study: ['run', 'study'],
  group: ['group'],
  model: ['model']
};
const TOLD_MS = 8_000;
const MOST_KEPT = 8;

function Board({ api, first, isReadOnly }: { api: Api; first: Place; isReadOnly: boolean }): ReactNode {
  const trans = english;
  const [places, setPlaces] = useState<readonly Place[]>([first]);
  const [question, setQuestion] = useState<Question | null>(null);
  const [told, setTold] = useState<Told | null>(null);
  const context = useMemo<AppContext>(
    () => ({
      api,
      trans,
      open: (kind, id) => {
        setPlaces(before => [...before, { kind, id }]);
      },
      insertCode: null,
      copy: text => {
        navigator.clipboard.writeText(text).then(
          () => {
            setTold({ message: trans.__('Copied'), kind: 'info' });
          },
          () => {
            setTold({ message: trans.__('The browser does not let this page copy'), kind: 'error' });
          }
        );
      },
      confirm: (title, body, accept) =>
        new Promise(resolve => {
          setQuestion({ title, body, accept, answer: resolve });
        }),
      notify: (message, kind, action) => {
        setTold(action ? { message, kind, action } : { message, kind });
      },
      openPage: path => {
        window.open(/^https?:\/\//.test(path) ? path : baseUrl() + path, '_blank', 'noopener');
      },
      isReadOnly
    }),
    [api, trans, isReadOnly]
  );
  const reading = useMemo<AppContext>(() => ({ ...context, isReadOnly: true }), [context]);
  const contextOf = (place: Place): AppContext => {
    const isOwn = CHANGED[first.kind]?.includes(place.kind) && (LISTS.includes(first.kind) || place.id === first.id);
    return isOwn ? context : reading;
  };
  useEffect(() => {
    const timer = told && setTimeout(setTold, TOLD_MS, null);
    return () => {
      clearTimeout(timer ?? undefined);
    };
  }, [told]);
  return (
    <div className="hops-board">
      {places.length > 1 && (
        <div className="hops-board-way">
          <button
            type="button"
            className="hops-button"
            onClick={() => {
              setPlaces(before => before.slice(0, -1));
            }}
          >
            <span aria-hidden="true">‹ </span>
            {trans.__('Back')}
          </button>
        </div>
      )}
      {places.map((place, index) => {
        const isShown = index === places.length - 1;
        // where one came from stays as it was left
        const isKept = index === 0 || index >= places.length - MOST_KEPT;
        const Screen = SCREENS[place.kind];
        return (
          <div
            key={index}
            className={LISTS.includes(place.kind) ? 'hops-board-list' : 'hops-board-detail'}
            hidden={!isShown}
          >
            {isKept && (
              <AppProvider.Provider value={contextOf(place)}>
                <AwakeContext.Provider value={isShown}>
                  <Guard key={`${place.kind} ${place.id}`} trans={trans}>
                    <Screen id={place.id} />
                  </Guard>
                </AwakeContext.Provider>
              </AppProvider.Provider>
            )}
          </div>
        );
      })}
      {question && (
        <Asking
          question={question}
          close={isAccepted => {
            question.answer(isAccepted);
            setQuestion(null);
          }}
        />
      )}
      <div className="hops-board-told" role={told?.kind === 'error' ? 'alert' : 'status'}>
        {told && (
          <>
            <span>{plain(told.message, 500)}</span>
            {told.action && (
              <button
                type="button"
                className="hops-button"
                onClick={() => {
                  told.action?.run();
                  setTold(null);
                }}
              >
                {told.action.label}
              </button>
            )}
          </>
        )}
      </div>
    </div>
  );
}

/** A question in the board itself: a page of voila has no dialogs. */
function Asking({ question, close }: { question: Question; close: (isAccepted: boolean) => void }): ReactNode {
  const cancel = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    cancel.current?.focus();
  }, []);
  return (
    <div
      className="hops-board-question"
      role="alertdialog"
      aria-label={plain(question.title, 200)}
      onKeyDown={event => {
        if (event.key === 'Escape') {
          close(false);
        }
      }}
    >
      <strong>{plain(question.title, 200)}</strong>
      <span>{plain(question.body, 1000)}</span>
      <button
        ref={cancel}
        type="button"
        className="hops-button"
        onClick={() => {
          close(false);
        }}
      >
        {english.__('Cancel')}
      </button>
      <button
        type="button"
        className="hops-button hops-primary"
        onClick={() => {
          close(true);
        }}
      >
        {question.accept}
      </button>
    </div>
  );
}

/** Where the page's server is, as the pages of Jupyter and voila say. */
function baseUrl(): string {
  try {
    const config: unknown = JSON.parse(document.getElementById('jupyter-config-data')?.textContent ?? '{}');
    return (config as { baseUrl?: string }).baseUrl ?? '/';
  } catch {
    return '/';
  }
}

export default function widget(): AnyWidget {
  let transport: CommTransport | null = null;
  let api: Api | null = null;
  const apiOf = (model: AnyModel): Api => {
    transport ??= new CommTransport(model);
    api ??= new Api(transport);
    return api;
  };
  return {
    initialize({ model }: { model: AnyModel }) {
      apiOf(model);
      return () => {
        transport?.close();
        transport = api = null;
      };
    },
    render({ model, el }: { model: AnyModel; el: HTMLElement }) {
      const sheet = document.createElement('style');
      sheet.textContent = plotStyle + runStyle + studyStyle + screenStyle + boardStyle;
      const place = document.createElement('div');
      el.append(sheet, place);
      const root = createRoot(place);
      const first = { kind: model.get('_screen') as Kind, id: String(model.get('_thing')) };
      root.render(<Board api={apiOf(model)} first={first} isReadOnly={Boolean(model.get('_is_read_only'))} />);
      return () => {
        root.unmount();
      };
    }
  };
}
