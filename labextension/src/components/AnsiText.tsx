import { type ReactNode, useMemo } from 'react';
import { spans } from '../ansi';
import type { OutputPart } from '../model';

interface Props {
  parts: OutputPart[];
}

/** Output of a rank with the colours it asked for. */
export function AnsiText({ parts }: Props): ReactNode {
  const pieces = useMemo(() => spans(parts), [parts]);
  return pieces.map(({ text, className }, index) =>
    className ? (
      <span key={index} className={className}>
        {text}
      </span>
    ) : (
      text
    )
  );
}
