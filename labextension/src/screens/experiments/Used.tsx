import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunDetail } from '../../api/types';
import { Empty } from '../../parts/frame';
import { Line, plain } from '../../parts/text';

/** The features that a run read, and the models that it made. */
export function Used({ run }: { run: RunDetail }): ReactNode {
  const { trans, open } = useApp();
  return (
    <div className="hops-stack">
      <h3>{trans.__('Features used')}</h3>
      {run.inputs.length ? (
        <ul className="hops-list">
          {run.inputs.map(input => (
            <li key={`${input.kind} ${input.full_name} ${String(input.commit)}`}>
              <button
                type="button"
                className="hops-link"
                onClick={() => {
                  open(input.kind === 'feature group' ? 'group' : 'dataset', input.full_name);
                }}
              >
                {plain(input.full_name)}
              </button>
              <span className="hops-faint">
                {input.commit === null ? trans.__('training dataset') : trans.__('commit %1', input.commit)}
              </span>
              <Line text={input.features.join(', ')} className="hops-faint" />
            </li>
          ))}
        </ul>
      ) : (
        <Empty title={trans.__('It read no features')} />
      )}
      <h3>{trans.__('Models made')}</h3>
      {run.models.length ? (
        <ul className="hops-list">
          {run.models.map(model => (
            <li key={`${model.name}/${String(model.version)}`}>
              <button
                type="button"
                className="hops-link"
                onClick={() => {
                  open('model', model.name);
                }}
              >
                {trans.__('%1 version %2', plain(model.name), model.version)}
              </button>
            </li>
          ))}
        </ul>
      ) : (
        <Empty title={trans.__('It made no model')}>
          <p className="hops-faint">
            {trans.__('%1 keeps the trained model as a version.', '%%distributed --register NAME')}
          </p>
        </Empty>
      )}
    </div>
  );
}
