/** Code that goes from screens into a notebook. */
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';

/**
 * Put code into a new cell below the active one, before the user's eyes: the notebook may be behind a detail view.
 *
 * @param reveal - brings a widget of the shell to the front, by its id.
 */
export function insertBelow(notebook: NotebookPanel | null, code: string, reveal: (id: string) => void): void {
  if (!notebook) {
    return;
  }
  reveal(notebook.id);
  const { content } = notebook;
  NotebookActions.insertBelow(content);
  const cell = content.activeCell;
  cell?.model.sharedModel.setSource(code);
  content.activate();
  if (cell) {
    void content.scrollToCell(cell);
  }
}
