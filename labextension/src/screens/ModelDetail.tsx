/** All versions of a model. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { Page, VersionRow } from '../api/types';
import { amount, figure } from '../format';
import { Doing } from '../parts/doing';
import { Connection, Empty, Loaded, Tabs } from '../parts/frame';
import { DataTable, ofNumbers } from '../parts/table';
import { Age, Line, plain } from '../parts/text';
import { LineagePicture } from './lineage/LineagePicture';

const MOST_METRICS = 4;

export function ModelDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(
    `model ${id}`,
    api => api.get<Page<VersionRow>>(path`/models/${id}/versions`, { limit: 500 }),
    ['models']
  );
  return (
    <section className="hops-detail" aria-label={trans.__('Model')}>
      <Connection />
      <header className="hops-detail-head">
        <h2>
          <bdi>{plain(id)}</bdi>
        </h2>
      </header>
      <Loaded asked={asked}>
        {({ items }) =>
          items.length ? (
            <Tabs
              label={trans.__('Parts of the model')}
              tabs={[
                { name: 'versions', label: trans.__('Versions'), content: () => <Versions versions={items} /> },
                {
                  name: 'lineage',
                  label: trans.__('Lineage'),
                  content: () => <VersionLineage model={id} versions={items} />
                }
              ]}
            />
          ) : (
            <Empty title={trans.__('This model has no version')} />
          )
        }
      </Loaded>
    </section>
  );
}

function VersionLineage({ model, versions }: { model: string; versions: VersionRow[] }): ReactNode {
  const { trans } = useApp();
  const [chosen, setChosen] = useState<number | null>(null);
  const version = versions.find(each => each.version === chosen)?.version ?? versions[0]?.version ?? 1;
  return (
    <div className="hops-stack">
      <label className="hops-field">
        {trans.__('Version')}{' '}
        <select
          className="hops-input"
          value={version}
          onChange={event => {
            setChosen(Number(event.target.value));
          }}
        >
          {versions.map(each => (
            <option key={each.version} value={each.version}>
              {each.version}
            </option>
          ))}
        </select>
      </label>
      <LineagePicture kind="model" name={`${model}/${String(version)}`} />
    </div>
  );
}

function Versions({ versions }: { versions: VersionRow[] }): ReactNode {
  const { trans } = useApp();
  const metrics = [...new Set(versions.flatMap(version => Object.keys(version.metrics)))].slice(0, MOST_METRICS);
  return (
    <DataTable
      heads={[
        trans.__('Version'),
        trans.__('Aliases'),
        ...metrics.map(name => ({ head: <Line text={name} />, key: `metric ${name}`, isNumber: true })),
        trans.__('Made by'),
        trans.__('From'),
        trans.__('When'),
        ofNumbers(trans.__('Size')),
        trans.__('Actions')
      ]}
    >
      {versions.map(version => (
        <Version key={version.version} version={version} metrics={metrics} />
      ))}
    </DataTable>
  );
}

function Version({ version, metrics }: { version: VersionRow; metrics: string[] }): ReactNode {
  const app = useApp();
  const { trans, api } = app;
  const act = useAction();
  const reference = version.aliases[0] ? JSON.stringify(version.aliases[0]) : String(version.version);
  const code = `import hops_magic as hops\n\nmodel = hops.models.load(${JSON.stringify(version.name)}, ${reference})`;
  const remove = async () => {
    const title = trans.__('Delete version %1?', version.version);
    if (
      await app.confirm(
        title,
        trans.__('It leaves the registry for good; its file stays with its run.'),
        trans.__('Delete')
      )
    ) {
      await act(() => api.delete(path`/models/${version.name}/versions/${version.version}`));
    }
  };
  return (
    <tr>
      <th scope="row">{version.version}</th>
      <td>
        <Aliases version={version} />
      </td>
      {metrics.map(name => (
        <td key={name} className="hops-number">
          {figure(version.metrics[name])}
        </td>
      ))}
      <td>
        {version.run_id && (
          <button
            type="button"
            className="hops-link"
            onClick={() => {
              app.open('run', version.run_id);
            }}
          >
            {plain(version.run_name || version.run_id, 40)}
          </button>
        )}
      </td>
      <td>
        {version.inputs.map(input => (
          <button
            key={`${input.kind} ${input.full_name} ${String(input.commit)}`}
            type="button"
            className="hops-link"
            title={plain(input.features.join(', '), 1000)}
            onClick={() => {
              app.open(input.kind === 'feature group' ? 'group' : 'dataset', input.full_name);
            }}
          >
            {plain(input.full_name, 60)}
          </button>
        ))}
      </td>
      <td>
        <Age at={version.created_at} />
      </td>
      <td className="hops-number">{version.size_bytes === null ? '' : amount(version.size_bytes)}</td>
      <td className="hops-actions">
        <button
          type="button"
          className="hops-button"
          title={code}
          onClick={() => {
            (app.insertCode ?? app.copy)(code);
          }}
        >
          {app.insertCode ? trans.__('Insert loading code') : trans.__('Copy loading code')}
        </button>
        {!app.isReadOnly && (
          <Doing label={trans.__('Delete')} doing={trans.__('Deleting…')} className="hops-danger" onClick={remove} />
        )}
      </td>
    </tr>
  );
}

function Aliases({ version }: { version: VersionRow }): ReactNode {
  const app = useApp();
  const { trans, api } = app;
  const act = useAction();
  const [alias, setAlias] = useState<string | null>(null);
  return (
    <>
      {version.aliases.map(each => (
        <span className="hops-chip" key={each}>
          <Line text={each} />
          {!app.isReadOnly && (
            <button
              type="button"
              className="hops-chip-button"
              aria-label={trans.__('Remove alias %1', plain(each, 80))}
              onClick={() => void act(() => api.delete(path`/models/${version.name}/aliases/${each}`))}
            >
              ×
            </button>
          )}
        </span>
      ))}
      {!app.isReadOnly &&
        (alias === null ? (
          <button
            type="button"
            className="hops-link"
            onClick={() => {
              setAlias('');
            }}
          >
            {trans.__('Add')}
          </button>
        ) : (
          <form
            className="hops-form"
            onSubmit={event => {
              event.preventDefault();
              const body = { version: version.version };
              void act(() => api.put(path`/models/${version.name}/aliases/${alias}`, body)).then(isDone => {
                if (isDone) {
                  setAlias(null);
                }
              });
            }}
          >
            <input
              className="hops-input hops-short"
              aria-label={trans.__('Alias of version %1', version.version)}
              placeholder={trans.__('champion')}
              autoFocus
              value={alias}
              onChange={event => {
                setAlias(event.target.value);
              }}
            />
            <button type="submit" className="hops-button" disabled={!alias}>
              {trans.__('Set')}
            </button>
          </form>
        ))}
    </>
  );
}

export default ModelDetail;
