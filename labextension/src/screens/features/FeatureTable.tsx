import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { Feature } from '../../api/types';
import { figure } from '../../format';
import { Bars } from '../../parts/pictures';
import { Line, plain } from '../../parts/text';

/** The columns of a group or dataset. */
export function FeatureTable({ features }: { features: Feature[] }): ReactNode {
  const { trans } = useApp();
  return (
    <div className="hops-scroll">
      <table className="hops-table">
        <thead>
          <tr>
            <th scope="col">{trans.__('Feature')}</th>
            <th scope="col">{trans.__('Type')}</th>
            <th scope="col">{trans.__('Distribution')}</th>
            <th scope="col" className="hops-number">
              {trans.__('Nulls')}
            </th>
            <th scope="col">{trans.__('Description')}</th>
          </tr>
        </thead>
        <tbody>
          {features.map(feature => (
            <tr key={feature.name}>
              <th scope="row">
                <Line text={feature.name} />
                {feature.is_key && <span className="hops-chip">{trans.__('key')}</span>}
                {feature.is_event_time && <span className="hops-chip">{trans.__('event time')}</span>}
              </th>
              <td className="hops-type">{plain(feature.type, 40)}</td>
              <td>
                <Bars sketch={feature.sketch} label={trans.__('Distribution of %1', feature.name)} />
              </td>
              <td className="hops-number">
                {feature.null_share === null ? '' : `${figure(100 * feature.null_share)} %`}
              </td>
              <td>
                <bdi>{plain(feature.description, 500)}</bdi>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
