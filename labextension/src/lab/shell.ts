/** Where widgets have their place in JupyterLab, and in Notebook 7, whose main area has room for one document. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Widget } from '@lumino/widgets';

interface SidePanels {
  expandLeft?: (id: string) => void;
  expandRight?: (id: string) => void;
}

function isNotebook(app: JupyterFrontEnd): boolean {
  return app.name === 'Jupyter Notebook';
}

export function addDetail(app: JupyterFrontEnd, widget: Widget): void {
  app.shell.add(widget, isNotebook(app) ? 'right' : 'main');
}

export function reveal(app: JupyterFrontEnd, id: string, side: 'left' | 'right'): void {
  app.shell.activateById(id);
  if (isNotebook(app)) {
    const panels = app.shell as unknown as SidePanels;
    (side === 'left' ? panels.expandLeft : panels.expandRight)?.call(panels, id);
  }
}
