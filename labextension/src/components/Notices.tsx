import type { ReactNode } from 'react';
import type { Head } from '../model';
import { useTranslator } from '../translate';
import { AnsiText } from './AnsiText';

interface Props {
  head: Head;
}

/** Errors, restarts and warnings: what a user should read first. */
export function Notices({ head }: Props): ReactNode {
  const trans = useTranslator();
  const leftBehind = Object.entries(head.result?.left_behind ?? {});
  return (
    <>
      {head.errors.map((error, index) => (
        <div key={`error-${index}`} className="hops-notice hops-notice-error" role="alert">
          {error.traceback ? (
            <details>
              <summary>
                <bdi>{`${error.ranks}: ${error.headline}`}</bdi>
              </summary>
              <pre dir="ltr" tabIndex={0}>
                <AnsiText parts={[['stdout', error.traceback]]} />
              </pre>
            </details>
          ) : (
            <bdi>{`${error.ranks}: ${error.headline}`}</bdi>
          )}
        </div>
      ))}
      {head.restarts.map((reason, index) => (
        <div key={`restart-${index}`} className="hops-notice">
          <bdi>{trans.__('Restarted: %1', reason)}</bdi>
        </div>
      ))}
      {head.warnings.map(message => (
        <div key={message} className="hops-notice">
          <bdi>{message}</bdi>
        </div>
      ))}
      {leftBehind.map(([name, reason]) => (
        <div key={`left-${name}`} className="hops-notice">
          <bdi>{trans.__('%1 stayed behind: %2', name, reason)}</bdi>
        </div>
      ))}
    </>
  );
}
