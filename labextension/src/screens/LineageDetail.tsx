/** Where something comes from, and what became of it. */
import type { ReactNode } from 'react';
import { useApp } from '../app';
import type { NodeKind } from '../api/types';
import { Connection } from '../parts/frame';
import { LineagePicture } from './lineage/LineagePicture';

/** `id`: `group:teams@1`, `run:ID`, `model:digits/3`. */
export function LineageDetail({ id }: { id: string }): ReactNode {
  const { trans } = useApp();
  const at = id.indexOf(':');
  return (
    <section className="hops-detail" aria-label={trans.__('Lineage')}>
      <Connection />
      <LineagePicture kind={id.slice(0, at) as NodeKind} name={id.slice(at + 1)} />
    </section>
  );
}

export default LineageDetail;
