import type { ReactNode } from 'react';
import { useApp } from '../../app';
import type { RunDetail } from '../../api/types';
import { Tabs, type Tab } from '../../parts/frame';
import { Captured, Facts, SourceView } from './facts';
import { RecordedOutput } from './RecordedOutput';
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
          content: () => <RecordedOutput key={run.run_id} runId={run.run_id} ranks={ranksOf(run)} />
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

/** How many ranks a run had, or has. */
function ranksOf(run: RunDetail): number {
  const told = Number(run.end.world_size ?? run.facts.workers ?? 1);
  return run.kind !== 'study' && Number.isInteger(told) ? Math.max(1, told) : 1;
}
