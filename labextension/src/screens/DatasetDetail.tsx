/** All of a training dataset. */
import { useState, type ReactNode } from 'react';
import { useApp, useAsked } from '../app';
import { path } from '../api/client';
import type { DatasetDetail as Dataset, StatisticsDocument, Table } from '../api/types';
import { moment, percent, span, whole } from '../format';
import { Connection, Loaded, Snippet, Tabs } from '../parts/frame';
import { Age, Line, plain } from '../parts/text';
import { FeatureTable } from './features/FeatureTable';
import { Grid } from './features/Grid';
import { StatisticsView } from './features/StatisticsView';
import { LineagePicture } from './lineage/LineagePicture';

/** `id`: `delays` or `delays@1`. */
export function DatasetDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`dataset ${id}`, api => api.get<Dataset>(path`/datasets/${id}`), ['features']);
  return (
    <section className="hops-detail" aria-label={trans.__('Training dataset')}>
      <Connection />
      <Loaded asked={asked}>
        {dataset => (
          <>
            <DatasetHead dataset={dataset} />
            <Tabs
              key={dataset.full_name}
              label={trans.__('Parts of the training dataset')}
              tabs={[
                { name: 'recipe', label: trans.__('Recipe'), content: () => <RecipeView dataset={dataset} /> },
                {
                  name: 'features',
                  label: trans.__('Features'),
                  content: () => <FeatureTable features={dataset.features} />
                },
                {
                  name: 'statistics',
                  label: trans.__('Statistics'),
                  content: () => (
                    <OfSplit dataset={dataset}>
                      {split => <SplitStatistics key={split} dataset={dataset} split={split} />}
                    </OfSplit>
                  )
                },
                {
                  name: 'preview',
                  label: trans.__('Preview'),
                  content: () => (
                    <OfSplit dataset={dataset}>
                      {split => <SplitPreview key={split} dataset={dataset} split={split} />}
                    </OfSplit>
                  )
                },
                {
                  name: 'lineage',
                  label: trans.__('Lineage'),
                  content: () => <LineagePicture kind="dataset" name={dataset.full_name} />
                }
              ]}
            />
          </>
        )}
      </Loaded>
    </section>
  );
}

function DatasetHead({ dataset }: { dataset: Dataset }): ReactNode {
  const { trans, open } = useApp();
  return (
    <header className="hops-detail-head">
      <div className="hops-headline">
        <h2>
          <bdi>{plain(dataset.name)}</bdi>
        </h2>
        <label>
          <span className="hops-faint">{trans.__('version')}</span>{' '}
          <select
            className="hops-input"
            value={dataset.version}
            onChange={event => {
              open('dataset', `${dataset.name}@${event.target.value}`);
            }}
          >
            {dataset.versions.map(version => (
              <option key={version} value={version}>
                {version}
              </option>
            ))}
          </select>
        </label>
      </div>
      <p>
        <bdi>{plain(dataset.description, 5000)}</bdi>
      </p>
      <p className="hops-faint hops-figure">
        {[
          Object.entries(dataset.rows)
            .map(([split, rows]) => `${plain(split, 30)} ${whole(rows)}`)
            .join(', '),
          dataset.file_format,
          ...(dataset.label ? [trans.__('label %1', plain(dataset.label, 60))] : []),
          trans.__('by %1', plain(dataset.author, 60))
        ].join(' · ')}{' '}
        · <Age at={dataset.created_at} />
      </p>
    </header>
  );
}

function RecipeView({ dataset }: { dataset: Dataset }): ReactNode {
  const { trans, open } = useApp();
  const split = Object.keys(dataset.rows)[0] ?? '';
  const part = Object.keys(dataset.rows).length > 1 ? ` --split ${split}` : '';
  const isDrawn = Object.values(dataset.splits).some(told => told !== '' && Number.isFinite(Number(told)));
  const terms = [
    ...(isDrawn ? [trans.__('Rows are dealt to the splits with seed %1.', dataset.seed)] : []),
    ...Object.entries(dataset.max_age_s).map(([group, age]) =>
      trans.__('What %1 knew more than %2 earlier counts as unknown.', plain(group, 80), span(age))
    )
  ];
  return (
    <div className="hops-stack">
      <Snippet code={`%features dataset read ${dataset.full_name}${part} --as df`} />
      <h3>{trans.__('Made from')}</h3>
      <ul className="hops-list">
        {dataset.sources.map(source => (
          <li key={source.full_name}>
            <button
              type="button"
              className="hops-link"
              onClick={() => {
                open('group', source.full_name);
              }}
            >
              {plain(source.full_name)}
            </button>
            <span className="hops-faint">{trans.__('commit %1', source.commit ?? '–')}</span>
            <Line text={source.features.join(', ')} className="hops-faint" />
          </li>
        ))}
      </ul>
      <h3>{trans.__('Splits')}</h3>
      <ul className="hops-list">
        {Object.entries(dataset.rows).map(([name, rows]) => (
          <li key={name}>
            <Line text={name} className="hops-strong" />
            <span className="hops-figure">{trans.__('%1 rows', whole(rows))}</span>
            <span className="hops-faint">{plain(splitOf(dataset.splits[name] ?? ''), 60)}</span>
          </li>
        ))}
      </ul>
      {terms.map(term => (
        <p key={term} className="hops-faint">
          {term}
        </p>
      ))}
    </div>
  );
}

/** How a split was made: its share of the rows, or until when it reaches. */
function splitOf(told: string): string {
  return told !== '' && Number.isFinite(Number(told)) ? percent(Number(told)) : told.replace(/\S+$/, moment);
}

function OfSplit({ dataset, children }: { dataset: Dataset; children: (split: string) => ReactNode }): ReactNode {
  const { trans } = useApp();
  const splits = Object.keys(dataset.rows);
  const [split, setSplit] = useState(splits[0] ?? '');
  return (
    <div className="hops-stack">
      {splits.length > 1 && (
        <label className="hops-field">
          {trans.__('Split')}{' '}
          <select
            className="hops-input"
            value={split}
            onChange={event => {
              setSplit(event.target.value);
            }}
          >
            {splits.map(name => (
              <option key={name} value={name}>
                {plain(name, 60)}
              </option>
            ))}
          </select>
        </label>
      )}
      {children(split)}
    </div>
  );
}

interface Part {
  dataset: Dataset;
  split: string;
}

function SplitStatistics({ dataset, split }: Part): ReactNode {
  const asked = useAsked(`statistics ${dataset.full_name} ${split}`, api =>
    api.get<StatisticsDocument>(path`/datasets/${dataset.full_name}/statistics`, { split })
  );
  return <Loaded asked={asked}>{({ statistics }) => <StatisticsView statistics={statistics} />}</Loaded>;
}

function SplitPreview({ dataset, split }: Part): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(`preview ${dataset.full_name} ${split}`, api =>
    api.get<Table>(path`/datasets/${dataset.full_name}/preview`, { split })
  );
  return <Loaded asked={asked}>{table => <Grid table={table} label={trans.__('First rows of %1', split)} />}</Loaded>;
}

export default DatasetDetail;
