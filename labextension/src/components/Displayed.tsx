import type { ReactNode } from 'react';
import type { Display } from '../model';
import { useTranslator } from '../translate';
import { AnsiText } from './AnsiText';
import { SafeHtml } from './SafeHtml';

interface Props {
  display: Display;
}

const PICTURES = ['image/png', 'image/jpeg', 'image/gif'] as const;

/** Something that a rank displayed: a picture, a table, or text. */
export function Displayed({ display: { rank, data } }: Props): ReactNode {
  const trans = useTranslator();
  const label = trans.__('Picture displayed by rank %1', rank);
  const picture = PICTURES.find(kind => kind in data);
  if (picture) {
    return <img className="hops-picture" alt={label} src={`data:${picture};base64,${data[picture] ?? ''}`} />;
  }
  const drawing = data['image/svg+xml'];
  if (drawing) {
    // as the source of a picture a drawing can neither run scripts nor load anything
    return <img className="hops-picture" alt={label} src={`data:image/svg+xml;utf8,${encodeURIComponent(drawing)}`} />;
  }
  const html = data['text/html'];
  if (html) {
    return <SafeHtml html={html} />;
  }
  return (
    <pre dir="ltr" tabIndex={0}>
      <AnsiText parts={[['stdout', data['text/plain'] ?? '']]} />
    </pre>
  );
}
