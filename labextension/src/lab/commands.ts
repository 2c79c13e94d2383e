/** Commands: in the palette, with shortcuts where the schema gives them some. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ICommandPalette } from '@jupyterlab/apputils';
import type { AppContext } from '../app';
import { isDetailKind } from './Detail';
import type { Details } from './details';
import type { ISource } from './seen';
import type { PanelPlace } from './place';

export const OPEN_DETAIL = 'hops-magic:open-detail';
const CATEGORY = 'Hops';

interface Choice {
  label: string;
  execute: () => void | Promise<void>;
  isEnabled?: () => boolean;
}

export function addCommands(
  app: JupyterFrontEnd,
  source: ISource<AppContext>,
  place: PanelPlace,
  details: Details,
  palette: ICommandPalette | null
): void {
  app.commands.addCommand(OPEN_DETAIL, {
    label: source.current.trans.__('Open a Detail View'),
    execute: ({ kind, id }) => {
      if (isDetailKind(kind) && typeof id === 'string') {
        details.open(kind, id);
      }
    }
  });
  const choices = { ...showing(source, place), ...doing(source, place) };
  for (const [command, choice] of Object.entries(choices)) {
    app.commands.addCommand(command, choice);
    palette?.addItem({ command, category: CATEGORY });
  }
}

function showing(source: ISource<AppContext>, place: PanelPlace): Record<string, Choice> {
  const { trans } = source.current;
  return {
    'hops-magic:open-panel': {
      label: trans.__('Show Features, Experiments, Models and the Cluster'),
      execute: () => {
        place.show();
      }
    },
    'hops-magic:search-features': {
      label: trans.__('Search Features'),
      execute: () => {
        place.show('features', true);
      }
    },
    'hops-magic:open-experiments': {
      label: trans.__('Show Experiments'),
      execute: () => {
        place.show('experiments', true);
      }
    },
    'hops-magic:open-models': {
      label: trans.__('Show Models'),
      execute: () => {
        place.show('models', true);
      }
    },
    'hops-magic:open-cluster': {
      label: trans.__('Show the Cluster'),
      execute: () => {
        place.show('cluster');
      }
    }
  };
}

function doing(source: ISource<AppContext>, place: PanelPlace): Record<string, Choice> {
  const { trans, api, confirm, notify } = source.current;
  const act = async (path: string) => {
    try {
      await api.post(path);
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), 'error');
    }
  };
  return {
    'hops-magic:insert-get': {
      label: trans.__('Insert %features get'),
      isEnabled: () => source.current.insertCode !== null,
      execute: () => {
        source.current.insertCode?.('%features get ');
        place.show('features', true);
      }
    },
    'hops-magic:start-cluster': {
      label: trans.__('Start the Cluster'),
      execute: async () => {
        place.show('cluster');
        await act('/cluster/start');
      }
    },
    'hops-magic:stop-cluster': {
      label: trans.__('Stop the Cluster'),
      execute: async () => {
        const title = trans.__('Stop the cluster?');
        if (await confirm(title, trans.__('It starts again with the next job.'), trans.__('Stop'))) {
          await act('/cluster/stop');
        }
      }
    },
    'hops-magic:refresh': {
      label: trans.__('Refresh'),
      execute: () => {
        api.refresh();
      }
    }
  };
}
