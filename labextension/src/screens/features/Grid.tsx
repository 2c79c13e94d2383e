import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { Cell, Table } from '../../api/types';
import { figure } from '../../format';
import { plain } from '../../parts/text';

interface Props {
  table: Table;
  label: string;
  sort?: string;
  /** Column, or column with `-` before it. */
  onSort?: (sort: string) => void;
  /** What stands below a column's name and type. */
  below?: (column: string) => ReactNode;
}

/** Rows of a table as they are; a click on a column's head sorts by it where that is possible. */
export function Grid({ table, label, sort = '', onSort, below }: Props): ReactNode {
  const { trans } = useApp();
  const sorted = sort.replace(/^-/, '');
  const areNumbers = table.columns.map((_, at) => areNumbersIn(table.rows, at));
  return (
    <div className="hops-scroll">
      <table className="hops-table hops-grid" aria-label={label}>
        <thead>
          <tr>
            {table.columns.map((column, at) => (
              <th
                key={column.name}
                scope="col"
                className={areNumbers[at] ? 'hops-number' : ''}
                aria-sort={column.name === sorted ? (sort.startsWith('-') ? 'descending' : 'ascending') : undefined}
              >
                {onSort ? (
                  <button
                    type="button"
                    className="hops-head-button"
                    title={trans.__('Sort by %1', column.name)}
                    onClick={() => {
                      onSort(sort === column.name ? `-${column.name}` : column.name);
                    }}
                  >
                    <bdi>{plain(column.name, 60)}</bdi>
                    {column.name === sorted ? (sort.startsWith('-') ? ' ↓' : ' ↑') : ''}
                  </button>
                ) : (
                  <bdi>{plain(column.name, 60)}</bdi>
                )}
                <div className="hops-type">{plain(column.type, 30)}</div>
                {below?.(column.name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, at) => (
                <td key={at} className={areNumbers[at] ? 'hops-number' : ''}>
                  {cell === null ? <span className="hops-faint">null</span> : <bdi>{inRow(cell)}</bdi>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Whether a column is one of numbers: they and their head stand at its right, so that digits are below digits. */
function areNumbersIn(rows: Cell[][], at: number): boolean {
  return (
    rows.some(row => typeof row[at] === 'number') && rows.every(row => row[at] === null || typeof row[at] === 'number')
  );
}

/** A value among others of a row: with more digits than a figure that stands for many. */
function inRow(cell: Cell): string {
  return typeof cell === 'number' && !Number.isInteger(cell) ? String(Number(cell.toPrecision(6))) : shown(cell);
}

export function shown(cell: Cell): string {
  if (typeof cell === 'number') {
    return Number.isInteger(cell) ? String(cell) : figure(cell);
  }
  return cell === null ? '–' : plain(String(cell), 200);
}
