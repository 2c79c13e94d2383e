import type { ReactNode } from 'react';
import { useTranslator } from '../translate';

interface Props {
  values: Record<string, string>;
}

/** What a run or trial was given, by name; closed at first. */
export function Parameters({ values }: Props): ReactNode {
  const trans = useTranslator();
  return (
    <details>
      <summary>{trans.__('Parameters')}</summary>
      <table className="hops-parameters">
        <tbody>
          {Object.entries(values).map(([name, value]) => (
            <tr key={name}>
              <th scope="row">
                <bdi>{name}</bdi>
              </th>
              <td>
                <bdi>{value}</bdi>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
