/** What screens are given in JupyterLab and Notebook 7. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import { NotebookActions, type INotebookTracker } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import type { Api } from '../api/client';
import type { AppContext, DetailKind } from '../app';
import { plain } from '../parts/text';
import type { Translator } from '../translate';
import type { ISource } from './Panel';

class Source implements ISource<AppContext> {
  readonly changed = new Signal<this, AppContext>(this);

  constructor(private _current: AppContext) {}

  get current(): AppContext {
    return this._current;
  }

  set current(next: AppContext) {
    this._current = next;
    this.changed.emit(next);
  }
}

/** The context, which changes as notebooks come to the front and go. */
export function contextOf(
  api: Api,
  trans: Translator,
  notebooks: INotebookTracker | null,
  open: (kind: DetailKind, id: string) => void
): ISource<AppContext> {
  const insertCode = (code: string) => {
    insertBelow(notebooks, code);
  };
  const source = new Source({
    api,
    trans,
    open,
    insertCode: notebooks?.currentWidget ? insertCode : null,
    copy: text => {
      copy(text, trans);
    },
    confirm,
    notify,
    openPage,
    isReadOnly: false
  });
  notebooks?.currentChanged.connect((_, current) => {
    source.current = { ...source.current, insertCode: current ? insertCode : null };
  });
  return source;
}

function insertBelow(notebooks: INotebookTracker | null, code: string): void {
  const notebook = notebooks?.currentWidget?.content;
  if (notebook) {
    NotebookActions.insertBelow(notebook);
    notebook.activeCell?.model.sharedModel.setSource(code);
    notebook.activate();
  }
}

function copy(text: string, trans: Translator): void {
  navigator.clipboard.writeText(text).then(
    () => {
      Notification.info(trans.__('Copied'), { autoClose: 1500 });
    },
    () => {
      Notification.error(trans.__('The browser does not let this page copy'), { autoClose: 5000 });
    }
  );
}

async function confirm(title: string, body: string, accept: string): Promise<boolean> {
  const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: accept })];
  const answer = await showDialog({ title, body, buttons });
  return answer.button.accept;
}

const notify: AppContext['notify'] = (message, kind, action) => {
  const actions = action ? [{ label: action.label, callback: action.run }] : [];
  const told = plain(message, 500);
  if (kind === 'error') {
    Notification.error(told, { autoClose: 10_000, actions });
  } else {
    Notification.info(told, { autoClose: 8000, actions });
  }
};

function openPage(path: string): void {
  const isWhole = /^https?:\/\//.test(path);
  window.open(isWhole ? path : URLExt.join(PageConfig.getBaseUrl(), path), '_blank', 'noopener');
}
