/** Renders the output of a cell that shows a run, in place of its HTML and of its widget. */
import { NotebookPanel } from '@jupyterlab/notebook';
import { MimeModel, type IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type React from 'react';
import type { ReactNode } from 'react';
import { AppProvider, AwakeContext, type AppContext } from '../app';
import { Guard } from '../parts/frame';
import { RunOutput, type Mount, type RunTold } from '../screens/experiments/RunOutput';
import { SeenWidget, Source, useSource, type ISource } from './seen';

export const RUN_TYPE = 'application/vnd.hops.run.v1+json';
const WIDGET_TYPE = 'application/vnd.jupyter.widget-view+json';

/** What renderers are given by the page. */
export interface Surroundings {
  app: ISource<AppContext>;
  /** For outputs that are shown outside of their notebook. */
  rendermime: IRenderMimeRegistry;
  /** Outputs, by their display's id, that this page has seen made: the kernel's widgets of these are here. */
  fresh: ReadonlySet<string>;
  keep: (panel: NotebookPanel, displayId: string, data: Record<string, string>) => void;
  insertBelow: (panel: NotebookPanel, output: Widget, code: string) => void;
}

interface Shown {
  told: RunTold;
  page: Mount;
  live: Mount | null;
}

export class RunOutputWidget extends SeenWidget implements IRenderMime.IRenderer {
  /** Whether the server knows the run; null before it has answered. */
  isKnown: boolean | null = null;
  private readonly _around: Surroundings;
  private readonly _shown = new Source<Shown | null>(null);
  private _model: IRenderMime.IMimeModel | null = null;
  private _live: Mount | null = null;
  private _liveId = '';

  constructor(around: Surroundings) {
    super();
    this._around = around;
    this.addClass('hops-output');
  }

  get displayId(): string {
    return this._shown.current?.told.display_id ?? '';
  }

  get panel(): NotebookPanel | null {
    let widget = this.parent;
    while (widget && !(widget instanceof NotebookPanel)) {
      widget = widget.parent;
    }
    return widget;
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._model = model;
    this._show();
    return Promise.resolve();
  }

  readonly learn = (isKnown: boolean): void => {
    this.isKnown = isKnown;
    if (!isKnown) {
      void this._lookForWidget();
    }
  };

  readonly keep = (data: Record<string, string>): void => {
    const { panel } = this;
    if (panel) {
      this._around.keep(panel, this.displayId, data);
    }
  };

  readonly insert = (code: string): void => {
    const { panel } = this;
    if (panel) {
      this._around.insertBelow(panel, this, code);
    }
  };

  /** See whether the kernel's widget is here. */
  refresh(): void {
    this._show();
  }

  /** The kernel that made the widget is gone, or made anew. */
  forget(): void {
    this._live = null;
    this._liveId = '';
    this._show();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    // only now is it known which notebook this is in, and so which widgets there are
    this._show();
  }

  protected override render(): React.JSX.Element {
    return <Output widget={this} app={this._around.app} seen={this.seen} shown={this._shown} />;
  }

  private _show(): void {
    const told = this._model?.data[RUN_TYPE] as RunTold | undefined;
    if (!this._model || !told) {
      return;
    }
    if (this._around.fresh.has(told.display_id)) {
      this._offerWidget(told);
    }
    const html = this._model.data['text/html'] as string | undefined;
    const text = this._model.data['text/plain'] as string | undefined;
    const data = html === undefined ? { 'text/plain': text ?? '' } : { 'text/html': html };
    const page = this._mounted(html === undefined ? 'text/plain' : 'text/html', data, this._model.trusted);
    this._shown.current = { told, page, live: this._live };
  }

  /** Ask the kernel whether it has the widget still; one that is busy answers when its cell has ended. */
  private async _lookForWidget(): Promise<void> {
    const told = this._shown.current?.told;
    const modelId = told?.widget['model_id'];
    const context = this.panel?.sessionContext;
    if (!told || !context || this._live || !this._model?.trusted || typeof modelId !== 'string') {
      return;
    }
    try {
      // a page that is just loaded has no connection yet
      await context.ready;
      const answer = await context.session?.kernel?.requestCommInfo({ target_name: 'jupyter.widget' });
      if (answer?.content.status === 'ok' && modelId in answer.content.comms && !this.isDisposed) {
        this._offerWidget(told);
        this._show();
      }
    } catch {
      // it was restarted, or left: then there is no widget to show
    }
  }

  private _offerWidget(told: RunTold): void {
    if (this._liveId !== told.display_id) {
      this._liveId = told.display_id;
      // what renders widgets notes in this data that one has gone
      this._live = this._mounted(WIDGET_TYPE, { [WIDGET_TYPE]: { ...told.widget } }, true);
    }
  }

  private _mounted(type: string, data: Record<string, unknown>, trusted: boolean): Mount {
    return into => {
      const rendermime = this.panel?.content.rendermime ?? this._around.rendermime;
      const renderer = rendermime.createRenderer(type);
      void renderer.renderModel(new MimeModel({ data: data as MimeModel.IOptions['data'], trusted }));
      Widget.attach(renderer, into);
      return () => {
        renderer.dispose();
      };
    };
  }
}

interface OutputProps {
  widget: RunOutputWidget;
  app: ISource<AppContext>;
  seen: ISource<boolean>;
  shown: ISource<Shown | null>;
}

function Output({ widget, app, seen, shown }: OutputProps): ReactNode {
  const context = useSource(app);
  const isSeen = useSource(seen);
  const output = useSource(shown);
  if (!output) {
    return null;
  }
  return (
    <AppProvider.Provider value={{ ...context, insertCode: widget.panel ? widget.insert : null }}>
      <Guard trans={context.trans}>
        <AwakeContext.Provider value={isSeen}>
          <RunOutput key={output.told.run_id} {...output} onKnown={widget.learn} keep={widget.keep} />
        </AwakeContext.Provider>
      </Guard>
    </AppProvider.Provider>
  );
}
