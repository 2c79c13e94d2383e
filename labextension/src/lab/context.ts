/** What screens are given in JupyterLab and Notebook 7. */
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Api } from '../api/client';
import type { AppContext, DetailKind } from '../app';
import { plain } from '../parts/text';
import type { Translator } from '../translate';
import { Source, type ISource } from './seen';
import { insertBelow } from './inserting';

/** The context, which changes as notebooks come to the front and go. */
export function contextOf(
  api: Api,
  trans: Translator,
  notebooks: INotebookTracker | null,
  open: (kind: DetailKind, id: string) => void,
  reveal: (id: string) => void
): ISource<AppContext> {
  const insertCode = (code: string) => {
    insertBelow(notebooks?.currentWidget ?? null, code, reveal);
  };
  const source = new Source<AppContext>({
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
