import type { DragEvent, ReactNode } from 'react';
import { useApp } from '../../app';
import type { Feature } from '../../api/types';
import { Bars } from '../../parts/pictures';
import { Line, plain } from '../../parts/text';
import { getCode } from './code';

interface Props {
  group: string;
  feature: Feature;
  isChosen: boolean;
  onChoose: () => void;
}

/** Let what is dragged become code where it is dropped. */
export function dragCode(event: DragEvent, code: string): void {
  event.dataTransfer.setData('text/plain', code);
  event.dataTransfer.effectAllowed = 'copy';
}

/** A feature of a group, as the sidebar shows it. */
export function FeatureLine({ group, feature, isChosen, onChoose }: Props): ReactNode {
  const { trans } = useApp();
  const name = `${group}.${feature.name}`;
  const nulls = feature.null_share ? trans.__('%1 % null', Math.max(1, Math.round(100 * feature.null_share))) : '';
  return (
    <div
      className="hops-feature"
      draggable
      onDragStart={event => {
        dragCode(event, getCode([name]));
      }}
      title={`${plain(feature.name, 200)} (${plain(feature.type, 60)})${feature.description ? `: ${plain(feature.description, 1000)}` : ''}`}
    >
      <div className="hops-feature-head">
        <input type="checkbox" checked={isChosen} aria-label={trans.__('Choose %1', plain(name))} onChange={onChoose} />
        <Line text={feature.name} />
        {feature.is_key && <span className="hops-chip">{trans.__('key')}</span>}
        {feature.is_event_time && <span className="hops-chip">{trans.__('time')}</span>}
        <span className="hops-spacer" />
        {nulls && <span className="hops-faint hops-figure">{nulls}</span>}
        <span className="hops-faint hops-type">{plain(feature.type, 30)}</span>
        <Bars sketch={feature.sketch} label={trans.__('Distribution of %1', plain(feature.name, 80))} />
      </div>
      {feature.description && <Line text={feature.description} className="hops-faint hops-feature-more" />}
    </div>
  );
}
