/** The states of runs, as users read them. */
import type { State } from './model';
import type { Translator } from './translate';

export const STATES: readonly State[] = [
  'submitted',
  'queued',
  'starting',
  'running',
  'restarting',
  'stopping',
  'done',
  'failed',
  'stopped'
];

export function stateName(state: State, trans: Translator): string {
  return {
    submitted: trans.__('submitted'),
    queued: trans.__('queued'),
    starting: trans.__('starting'),
    running: trans.__('running'),
    restarting: trans.__('restarting'),
    stopping: trans.__('stopping'),
    done: trans.__('done'),
    failed: trans.__('failed'),
    stopped: trans.__('stopped')
  }[state];
}
