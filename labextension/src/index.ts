/** The extension of JupyterLab and Notebook 7: a panel, detail views, commands, and outputs of runs. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Api } from './api/client';
import { addCommands, OPEN_DETAIL } from './lab/commands';
import { contextOf } from './lab/context';
import { Details } from './lab/details';
import { Outputs } from './lab/outputs';
import { PanelPlace } from './lab/place';
import { HttpTransport } from './lab/transport';

const PLUGIN = 'hops-magic:plugin';

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: 'Features, experiments, models and the cluster beside the notebook.',
  autoStart: true,
  optional: [
    ICommandPalette,
    ILayoutRestorer,
    INotebookTracker,
    ISettingRegistry,
    IStateDB,
    ITranslator,
    IRenderMimeRegistry
  ],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null,
    settings: ISettingRegistry | null,
    state: IStateDB | null,
    translator: ITranslator | null,
    rendermime: IRenderMimeRegistry | null
  ) => {
    const api = new Api(new HttpTransport(app.serviceManager));
    const trans = (translator ?? nullTranslator).load('hops_magic');
    const source = contextOf(
      api,
      trans,
      notebooks,
      (kind, id) => {
        void app.commands.execute(OPEN_DETAIL, { kind, id });
      },
      id => {
        app.shell.activateById(id);
      }
    );
    const place = new PanelPlace(app, source, restorer);
    const details = new Details(app, source);
    addCommands(app, source, place, details, palette);
    if (rendermime) {
      const outputs = new Outputs(source, rendermime, app.serviceManager, settings);
      if (notebooks) {
        outputs.follow(notebooks);
      }
    }
    if (restorer) {
      details.restore(restorer, OPEN_DETAIL);
    }
    if (state) {
      void place.remember(state);
    }
    if (settings) {
      void place.follow(settings, PLUGIN);
    }
  }
};

export default plugin;
