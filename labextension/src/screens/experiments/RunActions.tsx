import type { ReactNode } from 'react';
import { useAction, useApp } from '../../app';
import { path } from '../../api/client';
import type { RunDetail } from '../../api/types';
import { Doing } from '../../parts/doing';
import { plain } from '../../parts/text';

/** What can be done with a run, besides stopping it, which its live view offers. */
export function RunActions({ run }: { run: RunDetail }): ReactNode {
  const app = useApp();
  const { trans } = app;
  const act = useAction();
  const insert = app.insertCode;
  const remove = () =>
    act(async () => {
      const { api } = app;
      await api.delete(path`/runs/${run.run_id}`);
      app.notify(trans.__('Deleted %1', plain(run.name, 80)), 'info', {
        label: trans.__('Undo'),
        run: () => void act(() => api.post(path`/runs/${run.run_id}/restore`))
      });
    });
  return (
    <div className="hops-actions" role="toolbar" aria-label={trans.__('Actions')}>
      {run.cell && (
        <button
          type="button"
          className="hops-button"
          onClick={() => {
            (insert ?? app.copy)(run.cell);
          }}
        >
          {insert ? trans.__('Run again as a new cell') : trans.__('Copy the cell')}
        </button>
      )}
      {!run.is_final && insert && (
        <button
          type="button"
          className="hops-button"
          onClick={() => {
            insert(`%attach ${run.run_id}`);
          }}
        >
          {trans.__('Attach here')}
        </button>
      )}
      <button
        type="button"
        className="hops-button"
        onClick={() => {
          app.open('lineage', `run:${run.run_id}`);
        }}
      >
        {trans.__('Lineage')}
      </button>
      {!app.isReadOnly && run.is_final && !run.is_deleted && (
        <Doing label={trans.__('Delete')} doing={trans.__('Deleting…')} className="hops-danger" onClick={remove} />
      )}
      {!app.isReadOnly && run.is_deleted && (
        <Doing
          label={trans.__('Restore')}
          doing={trans.__('Restoring…')}
          className=""
          onClick={() => act(() => app.api.post(path`/runs/${run.run_id}/restore`))}
        />
      )}
    </div>
  );
}
