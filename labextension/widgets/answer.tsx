/** The browser's end of `hops_magic.boards.answer_table`: an answer's rows, a page at a time, by any column. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useEffect, useMemo, useState, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import { CommTransport } from '../src/api/comm';
import { Api, ApiError } from '../src/api/client';
import type { Sketch, Table } from '../src/api/types';
import { AppProvider, type AppContext } from '../src/app';
import { whole } from '../src/format';
import { Bars } from '../src/parts/pictures';
import { plain } from '../src/parts/text';
import { Grid } from '../src/screens/features/Grid';
import { english } from '../src/translate';
import screenStyle from '../style/screens.css';
import answerStyle from '../style/answer.css';

const PAGE = 50;
const LATE_MS = 3_000;

function Answer({ api, title }: { api: Api; title: string }): ReactNode {
  const trans = english;
  const [asked, setAsked] = useState({ sort: '', offset: 0 });
  const [table, setTable] = useState<Table | null>(null);
  const [sketches, setSketches] = useState<Record<string, Sketch>>({});
  const [fault, setFault] = useState('');
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    let isWanted = true;
    const timer = setTimeout(setLate, LATE_MS, true);
    const settle = () => {
      clearTimeout(timer);
      setLate(false);
    };
    api.get<Table>('/rows', { ...asked, limit: PAGE }).then(
      found => {
        if (isWanted) {
          settle();
          setTable(found);
          setFault('');
        }
      },
      (error: unknown) => {
        if (isWanted) {
          settle();
          setFault(error instanceof ApiError ? error.message : String(error));
        }
      }
    );
    return () => {
      isWanted = false;
      settle();
    };
  }, [api, asked]);
  const isThere = table !== null;
  useEffect(() => {
    if (isThere) {
      // rows come first; without distributions the table is one all the same
      api.get<Record<string, Sketch>>('/sketches').then(setSketches, () => undefined);
    }
  }, [api, isThere]);
  if (!table) {
    // beside the picture of the rows: a page that was saved or exported may have the widget, and no kernel of it
    return isLate || fault ? (
      <p role={fault ? 'alert' : 'status'}>{fault ? plain(fault, 500) : trans.__('Waiting for the rows…')}</p>
    ) : null;
  }
  const end = asked.offset + table.rows.length;
  const turn = (text: string, label: string, offset: number, isPossible: boolean): ReactNode => (
    <button
      type="button"
      className="hops-button hops-small"
      aria-label={label}
      title={label}
      disabled={!isPossible}
      onClick={() => {
        setAsked({ ...asked, offset });
      }}
    >
      {text}
    </button>
  );
  const last = Math.max(0, Math.floor((table.total - 1) / PAGE) * PAGE);
  return (
    <div className="hops-answer">
      <div className="hops-answer-head">
        <strong>{plain(title, 120)}</strong>
        <span className="hops-faint hops-figure">
          {trans.__('%1 rows of %2 columns', whole(table.total), whole(table.columns.length))}
        </span>
      </div>
      <div className="hops-answer-rows" tabIndex={0} role="region" aria-label={trans.__('Rows')}>
        <Grid
          table={table}
          label={trans.__('Rows of the answer')}
          sort={asked.sort}
          onSort={sort => {
            setAsked({ sort, offset: 0 });
          }}
          below={name => (
            <Bars sketch={sketches[name] ?? null} label={trans.__('Distribution of %1', plain(name, 60))} />
          )}
        />
      </div>
      {table.total > PAGE && (
        <div className="hops-answer-pages">
          {turn('«', trans.__('First rows'), 0, asked.offset > 0)}
          {turn('‹', trans.__('Rows before'), Math.max(0, asked.offset - PAGE), asked.offset > 0)}
          <span className="hops-figure" role="status">
            {trans.__(
              '%1 to %2 of %3',
              whole(table.rows.length ? asked.offset + 1 : 0),
              whole(end),
              whole(table.total)
            )}
          </span>
          {turn('›', trans.__('Rows after'), asked.offset + PAGE, end < table.total)}
          {turn('»', trans.__('Last rows'), last, end < table.total)}
        </div>
      )}
      {fault && <p role="alert">{plain(fault, 500)}</p>}
      {isLate && (
        <p role="status" className="hops-faint">
          {trans.__('The kernel has not answered yet: these are the rows from before.')}
        </p>
      )}
    </div>
  );
}

function View({ api, title }: { api: Api; title: string }): ReactNode {
  const context = useMemo<AppContext>(
    () => ({
      api,
      trans: english,
      open: () => undefined,
      insertCode: null,
      copy: () => undefined,
      confirm: () => Promise.resolve(false),
      notify: () => undefined,
      openPage: () => undefined,
      isReadOnly: true
    }),
    [api]
  );
  return (
    <AppProvider.Provider value={context}>
      <div className="hops-board">
        <Answer api={api} title={title} />
      </div>
    </AppProvider.Provider>
  );
}

export default function widget(): AnyWidget {
  let transport: CommTransport | null = null;
  return {
    initialize({ model }: { model: AnyModel }) {
      transport = new CommTransport(model);
      return () => {
        transport?.close();
        transport = null;
      };
    },
    render({ model, el }: { model: AnyModel; el: HTMLElement }) {
      const sheet = document.createElement('style');
      sheet.textContent = screenStyle + answerStyle;
      const place = document.createElement('div');
      el.append(sheet, place);
      const root = createRoot(place);
      transport ??= new CommTransport(model);
      root.render(<View api={new Api(transport)} title={String(model.get('_title'))} />);
      return () => {
        root.unmount();
      };
    }
  };
}
