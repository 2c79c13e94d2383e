/** Statistics as pictures: a histogram with its figures for each column, and the correlations. */
import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { Cell, ColumnStatistics, Statistics } from '../../api/types';
import { figure, moment, percent, span, whole } from '../../format';
import { Empty } from '../../parts/frame';
import { LabelledBars } from '../../parts/pictures';
import { Line, plain } from '../../parts/text';
import { shown as cellShown } from './Grid';

export function StatisticsView({ statistics }: { statistics: Statistics | null }): ReactNode {
  const { trans } = useApp();
  if (!statistics) {
    return <Empty title={trans.__('There are no statistics: they were left out when this was written')} />;
  }
  return (
    <div className="hops-stack">
      <p className="hops-faint hops-figure">
        {trans.__('%1 rows', whole(statistics.rows))}
        {statistics.is_sampled &&
          ` · ${trans.__('quantiles, histograms and correlations are of a sample of %1', whole(statistics.sample_rows))}`}
      </p>
      <div className="hops-cards">
        {statistics.columns.map(column => (
          <ColumnCard key={column.name} column={column} rows={statistics.rows} />
        ))}
      </div>
      {statistics.correlation && statistics.correlation.names.length > 1 && (
        <Correlations correlation={statistics.correlation} />
      )}
    </div>
  );
}

function ColumnCard({ column, rows }: { column: ColumnStatistics; rows: number }): ReactNode {
  const { trans } = useApp();
  const { histogram } = column;
  const sketch = histogram
    ? {
        labels: histogram.counts.map(
          (_, index) => `${shown(histogram.edges[index] ?? null)} – ${shown(histogram.edges[index + 1] ?? null)}`
        ),
        counts: histogram.counts
      }
    : { labels: column.top.map(top => shown(top.value)), counts: column.top.map(top => top.count) };
  const figures: [string, ReactNode][] = [
    [trans.__('nulls'), rows ? `${whole(column.nulls)} (${percent(column.nulls / rows)})` : '0'],
    [
      trans.__('distinct'),
      column.distinct === null ? '–' : `${column.is_distinct_estimate ? '≈ ' : ''}${whole(column.distinct)}`
    ],
    [trans.__('range'), column.min === null ? '–' : <Range from={shown(column.min)} to={shown(column.max)} />],
    [trans.__('mean'), column.mean === null ? '–' : shown(column.mean)],
    [trans.__('std'), spreadOf(column)],
    [trans.__('median'), column.quantiles.length ? shown(column.quantiles[3] ?? null) : '–']
  ];
  const facts = figures.filter(([, value]) => value !== '–');
  return (
    <section className="hops-card" aria-label={plain(column.name)}>
      <header>
        <Line text={column.name} className="hops-strong" />
        <span className="hops-type hops-faint">{plain(column.type, 30)}</span>
      </header>
      <LabelledBars
        sketch={sketch}
        ends={histogram ? [shown(histogram.edges[0] ?? null), shown(histogram.edges.at(-1) ?? null)] : []}
        label={trans.__('Distribution of %1', column.name)}
      />
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** From where to where: broken between both, if at all. */
function Range({ from, to }: { from: string; to: string }): ReactNode {
  return (
    <>
      <span className="hops-figure">{`${from} …`}</span> <span className="hops-figure">{to}</span>
    </>
  );
}

/** A value of a summary: moments to the minute. */
function shown(cell: Cell): string {
  return moment(cellShown(cell));
}

/** The standard deviation; of moments it is a span of time, told in seconds. */
function spreadOf(column: ColumnStatistics): string {
  return column.std !== null && typeof column.mean === 'string' ? span(column.std) : figure(column.std);
}

function Correlations({ correlation }: { correlation: NonNullable<Statistics['correlation']> }): ReactNode {
  const { trans } = useApp();
  const { names, matrix } = correlation;
  const at = (row: number, column: number) => (row >= column ? matrix[row]?.[column] : matrix[column]?.[row]) ?? null;
  return (
    <figure className="hops-correlation">
      <figcaption>{trans.__("Pearson's correlation")}</figcaption>
      <div className="hops-scroll">
        <table>
          <tbody>
            {names.map((name, row) => (
              <tr key={name}>
                <th scope="row">
                  <Line text={name} />
                </th>
                {names.map((other, column) => {
                  const value = at(row, column);
                  return (
                    <td
                      key={other}
                      title={`${plain(name, 60)} × ${plain(other, 60)}: ${figure(value)}`}
                      style={value === null ? {} : { background: tone(value) }}
                    >
                      {names.length <= 12 && value !== null ? value.toFixed(2) : ''}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div className="hops-tone-legend" aria-hidden="true">
        −1 <i style={{ background: `linear-gradient(90deg, ${tone(-1)}, ${tone(0)}, ${tone(1)})` }} /> 1
      </div>
      {correlation.left_out > 0 && (
        <p className="hops-faint">{trans.__('%1 more columns of numbers are not compared', correlation.left_out)}</p>
      )}
    </figure>
  );
}

function tone(value: number): string {
  const share = Math.round(Math.min(1, Math.abs(value)) * 70);
  return `color-mix(in srgb, ${value < 0 ? '#d35468' : '#3b82d6'} ${String(share)}%, transparent)`;
}
