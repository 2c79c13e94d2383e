import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunDetail } from '../../api/types';
import { Tabs, type Tab } from '../../parts/frame';
import { Captured, Facts, RecordedOutput, SourceView } from './facts';
import { Used } from './Used';

/** What the record holds of a run, after what is seen live. */
export function Recorded({ run, first }: { run: RunDetail; first: Tab }): ReactNode {
  const { trans } = useApp();
  return (
    <Tabs
      label={trans.__('Parts of the run')}
      tabs={[
        first,
        { name: 'source', label: trans.__('Source'), content: () => <SourceView code={run.cell} /> },
        {
          name: 'parameters',
          label: trans.__('Parameters'),
          content: () => <Facts facts={{ ...run.params }} empty={trans.__('It has no parameters')} />
        },
        { name: 'captured', label: trans.__('Captured'), content: () => <Captured rows={run.captured} /> },
        { name: 'used', label: trans.__('Features and models'), content: () => <Used run={run} /> },
        {
          name: 'output',
          label: trans.__('Output'),
          content: () => <RecordedOutput key={run.run_id} runId={run.run_id} />
        },
        {
          name: 'environment',
          label: trans.__('Environment'),
          content: () => (
            <Facts
              facts={{ ...run.environment, notebook: run.notebook, user: run.user }}
              empty={trans.__('The record has no environment')}
            />
          )
        }
      ]}
    />
  );
}
