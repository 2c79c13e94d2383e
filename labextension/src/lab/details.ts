/** Detail views: one widget for each thing, open again after a reload. */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { AppContext, DetailKind } from '../app';
import { plain } from '../parts/text';
import { DetailWidget } from './Detail';
import { hopsIcon } from './icons';
import type { ISource } from './seen';
import { addDetail, reveal } from './shell';

export class Details {
  private readonly _app: JupyterFrontEnd;
  private readonly _source: ISource<AppContext>;
  private readonly _tracker = new WidgetTracker<MainAreaWidget<DetailWidget>>({ namespace: 'hops-magic' });

  constructor(app: JupyterFrontEnd, source: ISource<AppContext>) {
    this._app = app;
    this._source = source;
  }

  restore(restorer: ILayoutRestorer, command: string): void {
    void restorer.restore(this._tracker, {
      command,
      args: ({ content }) => ({ kind: content.kind, id: content.thing }),
      name: ({ content }) => `${content.kind}:${content.thing}`
    });
  }

  open(kind: DetailKind, id: string): void {
    const widget = this._tracker.find(({ content }) => content.thing === id && isSame(content.kind, kind));
    reveal(this._app, (widget ?? this._add(kind, id)).id, 'right');
  }

  private _add(kind: DetailKind, id: string): MainAreaWidget<DetailWidget> {
    const { trans } = this._source.current;
    const widget = new MainAreaWidget({ content: new DetailWidget(this._source, kind, id) });
    widget.id = `hops-${kind}:${id}`;
    widget.title.label = plain(kind === 'compare' ? trans.__('Comparison') : id, 40);
    widget.title.icon = hopsIcon;
    widget.title.closable = true;
    if (kind === 'run' || kind === 'study') {
      void this._entitle(widget, id);
    }
    addDetail(this._app, widget);
    void this._tracker.add(widget);
    return widget;
  }

  /** Give a run's tab the run's name, once it is known. */
  private async _entitle(widget: MainAreaWidget<DetailWidget>, id: string): Promise<void> {
    try {
      const { api } = this._source.current;
      const { name } = await api.get<{ name: string }>(`/runs/${encodeURIComponent(id)}`, { fields: 'name' });
      widget.title.label = plain(name, 40);
    } catch {
      // the view itself tells what is wrong
    }
  }
}

/** A study is a run: whoever opens it may not know which it is. */
function isSame(a: DetailKind, b: DetailKind): boolean {
  const runs = ['run', 'study'];
  return a === b || (runs.includes(a) && runs.includes(b));
}
