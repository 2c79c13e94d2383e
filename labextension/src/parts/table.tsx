/** A table with a line of heads, which scrolls sideways where it must. */
import type { ReactNode } from 'react';

interface Head {
  head: ReactNode;
  key: string;
  isNumber?: boolean;
}

/** The head of a column of numbers. */
export function ofNumbers(head: string): Head {
  return { head, key: head, isNumber: true };
}

/** `heads`: texts, or more where a text is not enough; `children`: the table's lines. */
export function DataTable({ heads, children }: { heads: (string | Head)[]; children: ReactNode }): ReactNode {
  const all = heads.map(head => (typeof head === 'string' ? { head, key: head, isNumber: false } : head));
  return (
    <div className="hops-scroll">
      <table className="hops-table">
        <thead>
          <tr>
            {all.map(({ head, key, isNumber }) => (
              <th scope="col" key={key} className={isNumber ? 'hops-number' : undefined}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
