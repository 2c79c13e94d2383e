import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { Feature } from '../../api/types';
import { moment, percent } from '../../format';
import { LabelledBars } from '../../parts/pictures';
import { DataTable, ofNumbers } from '../../parts/table';
import { Line, plain } from '../../parts/text';

/** The columns of a group or dataset. */
export function FeatureTable({ features }: { features: Feature[] }): ReactNode {
  const { trans } = useApp();
  const isDescribed = features.some(feature => feature.description);
  return (
    <DataTable
      heads={[
        trans.__('Feature'),
        trans.__('Type'),
        trans.__('Distribution'),
        ofNumbers(trans.__('Nulls')),
        ...(isDescribed ? [trans.__('Description')] : [])
      ]}
    >
      {features.map(feature => (
        <tr key={feature.name}>
          <th scope="row">
            <Line text={feature.name} />
            {feature.is_key && <span className="hops-chip">{trans.__('key')}</span>}
            {feature.is_event_time && <span className="hops-chip">{trans.__('event time')}</span>}
          </th>
          <td className="hops-type">{plain(feature.type, 40)}</td>
          <td>
            <LabelledBars
              sketch={feature.sketch}
              ends={(feature.sketch?.ends ?? []).map(moment)}
              label={trans.__('Distribution of %1', feature.name)}
            />
          </td>
          <td className="hops-number">{feature.null_share === null ? '' : percent(feature.null_share)}</td>
          {isDescribed && (
            <td>
              <bdi>{plain(feature.description, 500)}</bdi>
            </td>
          )}
        </tr>
      ))}
    </DataTable>
  );
}
