/** Outputs of runs in notebooks: renders them, and brings to the file what the kernel tells a page that was reloaded. */
import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { KernelAPI, type KernelMessage, type ServiceManager } from '@jupyterlab/services';
import type { ICodeCellModel } from '@jupyterlab/cells';
import type { Widget } from '@lumino/widgets';
import type { AppContext } from '../app';
import type { RunTold } from '../screens/experiments/RunOutput';
import { RUN_TYPE, RunOutputWidget, type Surroundings } from './RunOutputWidget';
import type { ISource } from './seen';

type Content = KernelMessage.IDisplayDataMsg['content'];

interface Place {
  cell: ICodeCellModel;
  index: number;
  told: RunTold;
}

/** Ahead of widgets, which are ahead of HTML. */
const RANK = -20;
// the kernel's own last page says more, and comes a moment after the server knows of the end
const LAST_PAGE_AFTER_MS = 5000;
const SOLE_FOR_MS = 3000;
const SAVE_AFTER_MS = 300;

export class Outputs implements Surroundings {
  readonly app: ISource<AppContext>;
  readonly rendermime: IRenderMimeRegistry;
  readonly fresh = new Set<string>();
  private readonly _services: ServiceManager.IManager;
  private readonly _settings: ISettingRegistry | null;
  private readonly _widgets = new Set<RunOutputWidget>();
  private readonly _sole = new Map<string, { at_ms: number; isSole: boolean }>();

  constructor(
    app: ISource<AppContext>,
    rendermime: IRenderMimeRegistry,
    services: ServiceManager.IManager,
    settings: ISettingRegistry | null
  ) {
    this.app = app;
    this.rendermime = rendermime;
    this._services = services;
    this._settings = settings;
    rendermime.addFactory({ safe: true, mimeTypes: [RUN_TYPE], createRenderer: () => this._create() }, RANK);
  }

  /** Hear what the kernels of notebooks say. */
  follow(notebooks: INotebookTracker): void {
    const hear = (panel: NotebookPanel) => {
      panel.sessionContext.iopubMessage.connect((_, message) => {
        this._hear(panel, message);
      });
      panel.sessionContext.statusChanged.connect((_, status) => {
        if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
          this._forget(panel);
        }
      });
      panel.sessionContext.kernelChanged.connect(() => {
        this._forget(panel);
      });
    };
    notebooks.forEach(hear);
    notebooks.widgetAdded.connect((_, panel) => {
      hear(panel);
    });
  }

  readonly keep = (panel: NotebookPanel, displayId: string, data: Record<string, string>): void => {
    setTimeout(() => void this._place(panel, displayId, data, {}), LAST_PAGE_AFTER_MS);
  };

  readonly insertBelow = (panel: NotebookPanel, output: Widget, code: string): void => {
    const { content } = panel;
    const index = content.widgets.findIndex(cell => cell.node.contains(output.node));
    if (index >= 0) {
      content.activeCellIndex = index;
    }
    NotebookActions.insertBelow(content);
    content.activeCell?.model.sharedModel.setSource(code);
  };

  private _create(): RunOutputWidget {
    const widget = new RunOutputWidget(this);
    this._widgets.add(widget);
    widget.disposed.connect(() => {
      this._widgets.delete(widget);
    });
    return widget;
  }

  private _hear(panel: NotebookPanel, message: KernelMessage.IMessage): void {
    const content = message.content as Partial<Content>;
    const id = content.transient?.display_id;
    if (!content.data || typeof id !== 'string') {
      return;
    }
    if (message.header.msg_type === 'display_data' && RUN_TYPE in content.data) {
      this.fresh.add(id);
      this._widgets.forEach(widget => {
        if (widget.displayId === id) {
          widget.refresh();
        }
      });
      setTimeout(() => void this._save(panel), SAVE_AFTER_MS);
    } else if (message.header.msg_type === 'update_display_data' && !this.fresh.has(id)) {
      // the page that made the output has it from the Lab; one that was loaded since is told by nobody else
      void this._place(panel, id, content.data, content.metadata ?? {});
    }
  }

  private _forget(panel: NotebookPanel): void {
    for (const widget of this._widgets) {
      if (widget.panel === panel) {
        this.fresh.delete(widget.displayId);
        widget.forget();
      }
    }
  }

  private async _place(
    panel: NotebookPanel,
    displayId: string,
    data: Record<string, unknown>,
    metadata: Content['metadata']
  ): Promise<void> {
    const next = data[RUN_TYPE] as RunTold | undefined;
    const older = () =>
      placesOf(panel).filter(
        ({ told }) => told.display_id === displayId && (next === undefined || told.number < next.number)
      );
    if (panel.isDisposed || !older().length || !(await this._isSole(panel))) {
      return;
    }
    const isShownByKernel = [...this._widgets].some(each => each.displayId === displayId && each.isKnown === false);
    for (const { cell, index, told } of older()) {
      // where the server knows nothing, the kernel's widget stays before the user's eyes; the file has the page beside it
      const kept = next === undefined && isShownByKernel ? { [RUN_TYPE]: { ...told }, ...data } : data;
      cell.outputs.set(index, { output_type: 'display_data', data: kept as Content['data'], metadata });
    }
  }

  /** Whether no other page shows this notebook: one that nobody looks at must not save over another. */
  private async _isSole(panel: NotebookPanel): Promise<boolean> {
    const kernel = panel.sessionContext.session?.kernel;
    if (!kernel) {
      return panel.isVisible && document.visibilityState === 'visible';
    }
    const known = this._sole.get(kernel.id);
    if (known && Date.now() - known.at_ms < SOLE_FOR_MS) {
      return known.isSole;
    }
    let isSole = true;
    try {
      const { connections } = (await KernelAPI.getKernelModel(kernel.id, this._services.serverSettings)) ?? {};
      isSole = (connections ?? 1) <= 1;
    } catch {
      // a server that does not answer has no other page either
    }
    this._sole.set(kernel.id, { at_ms: Date.now(), isSole });
    return isSole;
  }

  /** Whether the user lets the Lab save: in the Lab's own settings, since pages of voila have no manager of documents. */
  private async _isSavedByItself(): Promise<boolean> {
    try {
      const found = await this._settings?.get('@jupyterlab/docmanager-extension:plugin', 'autosave');
      return found?.composite === true;
    } catch {
      return false;
    }
  }

  /** Save a notebook in which a run has begun: a page that is reloaded shows it again. */
  private async _save(panel: NotebookPanel): Promise<void> {
    const { context } = panel;
    const isWanted = context.model.dirty && context.contentsModel?.writable && !context.model.collaborative;
    if (isWanted && !panel.isDisposed && (await this._isSavedByItself())) {
      try {
        await context.save();
      } catch {
        // the Lab has told the user
      }
    }
  }
}

function placesOf(panel: NotebookPanel): Place[] {
  const places: Place[] = [];
  for (const cell of panel.content.model?.cells ?? []) {
    if (cell.type === 'code') {
      const { outputs } = cell as ICodeCellModel;
      for (let index = 0; index < outputs.length; index++) {
        const told = outputs.get(index).data[RUN_TYPE];
        if (told) {
          places.push({ cell: cell as ICodeCellModel, index, told: told as unknown as RunTold });
        }
      }
    }
  }
  return places;
}
