/** The JupyterLab extension: a panel, detail views, commands. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, MainAreaWidget, Notification, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';
import { Api } from './api/client';
import type { AppContext, DetailKind } from './app';
import { DetailWidget, isDetailKind } from './lab/Detail';
import { hopsIcon } from './lab/icons';
import { HopsPanel, SECTIONS, type ISource, type Section } from './lab/Panel';
import { HttpTransport } from './lab/transport';
import { plain } from './parts/text';

const PLUGIN = 'hops-magic:plugin';
const NAMESPACE = 'hops-magic';
const CATEGORY = 'Hops';

const Command = {
  openPanel: 'hops-magic:open-panel',
  searchFeatures: 'hops-magic:search-features',
  openExperiments: 'hops-magic:open-experiments',
  openModels: 'hops-magic:open-models',
  openCluster: 'hops-magic:open-cluster',
  openDetail: 'hops-magic:open-detail',
  insertGet: 'hops-magic:insert-get',
  startCluster: 'hops-magic:start-cluster',
  stopCluster: 'hops-magic:stop-cluster',
  refresh: 'hops-magic:refresh'
} as const;

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

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: 'Features, experiments, models and the cluster beside the notebook.',
  autoStart: true,
  optional: [ICommandPalette, ILayoutRestorer, INotebookTracker, ISettingRegistry, IStateDB, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null,
    settings: ISettingRegistry | null,
    state: IStateDB | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('hops_magic');
    const { serverSettings, events } = app.serviceManager;
    const api = new Api(new HttpTransport(serverSettings, events));
    const insertCode = (code: string) => {
      const notebook = notebooks?.currentWidget?.content;
      if (notebook) {
        NotebookActions.insertBelow(notebook);
        notebook.activeCell?.model.sharedModel.setSource(code);
        notebook.activate();
      }
    };
    const source = new Source({
      api,
      trans,
      open: (kind, id) => {
        void app.commands.execute(Command.openDetail, { kind, id });
      },
      insertCode: notebooks?.currentWidget ? insertCode : null,
      copy: text => {
        navigator.clipboard.writeText(text).then(
          () => {
            Notification.info(trans.__('Copied'), { autoClose: 1500 });
          },
          () => {
            Notification.error(trans.__('The browser does not let this page copy'), { autoClose: 5000 });
          }
        );
      },
      confirm: async (title, body, accept) => {
        const buttons = [Dialog.cancelButton(), Dialog.warnButton({ label: accept })];
        const answer = await showDialog({ title, body, buttons });
        return answer.button.accept;
      },
      notify: (message, kind, action) => {
        const actions = action ? [{ label: action.label, callback: action.run }] : [];
        const told = plain(message, 500);
        if (kind === 'error') {
          Notification.error(told, { autoClose: 10_000, actions });
        } else {
          Notification.info(told, { autoClose: 8000, actions });
        }
      },
      openPage: path => {
        const isWhole = /^https?:\/\//.test(path);
        window.open(isWhole ? path : URLExt.join(PageConfig.getBaseUrl(), path), '_blank', 'noopener');
      },
      isReadOnly: false
    });
    notebooks?.currentChanged.connect((_, current) => {
      source.current = { ...source.current, insertCode: current ? insertCode : null };
    });

    const panel = new HopsPanel(source);
    panel.id = 'hops-panel';
    panel.title.icon = hopsIcon;
    panel.title.caption = trans.__('Features, experiments, models and the cluster');
    let side = 'left';
    app.shell.add(panel, side, { rank: 650, type: 'Hops' });
    restorer?.add(panel, panel.id);

    const key = `${NAMESPACE}:panel`;
    if (state) {
      void Promise.all([state.fetch(key), app.restored]).then(([kept]) => {
        const section = (kept as { section?: unknown } | undefined)?.section;
        if (SECTIONS.includes(section as Section)) {
          panel.show_({ section: section as Section });
        }
        panel.changed.connect((_, { section: next }) => {
          void state.save(key, { section: next });
        });
      });
    }
    if (settings) {
      void settings.load(PLUGIN).then(loaded => {
        const apply = () => {
          const sections = loaded.get('sections').composite as Section[];
          panel.show_({ sections: sections.length ? sections : SECTIONS });
          const wanted = loaded.get('side').composite as string;
          if (wanted !== side) {
            side = wanted;
            app.shell.add(panel, side, { rank: 650, type: 'Hops' });
          }
        };
        apply();
        loaded.changed.connect(apply);
      });
    }

    const tracker = new WidgetTracker<MainAreaWidget<DetailWidget>>({ namespace: NAMESPACE });
    const nameOf = (kind: DetailKind, id: string) => `${kind}:${id}`;
    const openDetail = (kind: DetailKind, id: string) => {
      let widget = tracker.find(each => each.content.kind === kind && each.content.thing === id);
      if (!widget) {
        widget = new MainAreaWidget({ content: new DetailWidget(source, kind, id) });
        widget.id = `hops-${nameOf(kind, id)}`;
        widget.title.label = plain(kind === 'compare' ? trans.__('Comparison') : id, 40);
        widget.title.icon = hopsIcon;
        widget.title.closable = true;
        if (kind === 'run' || kind === 'study') {
          void entitled(api, widget, id);
        }
      }
      if (!widget.isAttached) {
        // Notebook 7 has room for one document in its main area
        app.shell.add(widget, isNotebook(app) ? 'right' : 'main');
        void tracker.add(widget);
      }
      app.shell.activateById(widget.id);
      if (isNotebook(app)) {
        (app.shell as unknown as { expandRight?: (id: string) => void }).expandRight?.(widget.id);
      }
    };
    if (restorer) {
      void restorer.restore(tracker, {
        command: Command.openDetail,
        args: ({ content }) => ({ kind: content.kind, id: content.thing }),
        name: ({ content }) => nameOf(content.kind, content.thing)
      });
    }

    const show = (section?: Section, focus = false) => {
      app.shell.activateById(panel.id);
      const shell = app.shell as unknown as { expandLeft?: (id: string) => void };
      if (isNotebook(app)) {
        shell.expandLeft?.(panel.id);
      }
      panel.show_({
        ...(section ? { section } : {}),
        ...(focus ? { focus: panel.shown.focus + 1 } : {})
      });
    };
    const { commands } = app;
    const act = async (path: string, body: Record<string, string | number | boolean>) => {
      try {
        await api.post(path, body);
      } catch (error) {
        source.current.notify(error instanceof Error ? error.message : String(error), 'error');
      }
    };
    commands.addCommand(Command.openPanel, {
      label: trans.__('Show Features, Experiments, Models and the Cluster'),
      execute: () => {
        show();
      }
    });
    commands.addCommand(Command.searchFeatures, {
      label: trans.__('Search Features'),
      execute: () => {
        show('features', true);
      }
    });
    commands.addCommand(Command.insertGet, {
      label: trans.__('Insert %features get'),
      isEnabled: () => source.current.insertCode !== null,
      execute: () => {
        source.current.insertCode?.('%features get ');
        show('features', true);
      }
    });
    commands.addCommand(Command.openExperiments, {
      label: trans.__('Show Experiments'),
      execute: () => {
        show('experiments', true);
      }
    });
    commands.addCommand(Command.openModels, {
      label: trans.__('Show Models'),
      execute: () => {
        show('models');
      }
    });
    commands.addCommand(Command.openCluster, {
      label: trans.__('Show the Cluster'),
      execute: () => {
        show('cluster');
      }
    });
    commands.addCommand(Command.startCluster, {
      label: trans.__('Start the Cluster'),
      execute: async () => {
        show('cluster');
        await act('/cluster/start', {});
      }
    });
    commands.addCommand(Command.stopCluster, {
      label: trans.__('Stop the Cluster'),
      execute: async () => {
        const { confirm } = source.current;
        if (
          await confirm(trans.__('Stop the cluster?'), trans.__('It starts again with the next job.'), trans.__('Stop'))
        ) {
          await act('/cluster/stop', {});
        }
      }
    });
    commands.addCommand(Command.refresh, {
      label: trans.__('Refresh'),
      execute: () => {
        api.refresh();
      }
    });
    commands.addCommand(Command.openDetail, {
      label: trans.__('Open a Detail View'),
      execute: args => {
        if (isDetailKind(args.kind) && typeof args.id === 'string') {
          openDetail(args.kind, args.id);
        }
      }
    });
    if (palette) {
      for (const command of Object.values(Command)) {
        if (command !== Command.openDetail) {
          palette.addItem({ command, category: CATEGORY });
        }
      }
    }
  }
};

function isNotebook(app: JupyterFrontEnd): boolean {
  return app.name === 'Jupyter Notebook';
}

/** Give a run's tab the run's name, once it is known. */
async function entitled(api: Api, widget: MainAreaWidget<DetailWidget>, id: string): Promise<void> {
  try {
    const { name } = await api.get<{ name: string }>(`/runs/${encodeURIComponent(id)}`, { fields: 'name' });
    widget.title.label = plain(name, 40);
  } catch {
    // the view itself tells what is wrong
  }
}

export default plugin;
