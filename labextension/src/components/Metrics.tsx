import type { ReactNode } from 'react';
import { figure, whole } from '../format';
import type { Head } from '../model';
import { useTranslator } from '../translate';

interface Props {
  head: Head;
}

/** The newest figures in one row. */
export function Metrics({ head }: Props): ReactNode {
  const trans = useTranslator();
  const tiles = Object.entries(head.latest).map(([name, value]) => [name, figure(value)] as const);
  const speed = head.examples_per_s;
  if (!tiles.length && speed === null) {
    return null;
  }
  return (
    <dl className="hops-metrics">
      {tiles.map(([name, value]) => (
        <Tile key={name} name={name} value={value} />
      ))}
      {speed !== null && (
        <Tile name={head.is_final ? trans.__('examples/s, mean') : trans.__('examples/s')} value={whole(speed)} />
      )}
    </dl>
  );
}

function Tile({ name, value }: { name: string; value: string }): ReactNode {
  return (
    <div>
      <dt title={name}>
        <bdi>{name}</bdi>
      </dt>
      <dd>{value}</dd>
    </div>
  );
}
