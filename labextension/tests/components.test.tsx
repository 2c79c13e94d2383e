import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderToStaticMarkup } from 'react-dom/server';
import { Header } from '../src/components/Header';
import { Metrics } from '../src/components/Metrics';
import { Notices } from '../src/components/Notices';
import { Ranks } from '../src/components/Ranks';
import { amount, duration, figure, moment, percent } from '../src/format';
import type { Rank } from '../src/model';
import { head } from './samples';

const noop = () => undefined;

test('a queued run says what it waits for', () => {
  const queue = 'waiting for 3 slots, 2 free, 2nd in the queue';
  assert.match(renderToStaticMarkup(<Header head={head({ state: 'queued', queue })} skew_s={0} />), new RegExp(queue));
});

test('Stop is there while the run lives, and cannot be clicked twice', () => {
  const markup = (changes: object) => renderToStaticMarkup(<Header head={head(changes)} skew_s={0} onStop={noop} />);
  assert.match(markup({}), /<button(?!.*disabled).*>Stop<\/button>/);
  assert.match(markup({ is_stop_requested: true }), /<button.*disabled.*>Stopping…<\/button>/);
  assert.doesNotMatch(markup({ is_final: true }), /<button/);
  assert.doesNotMatch(renderToStaticMarkup(<Header head={head()} skew_s={0} />), /<button/);
});

test('names and messages are text', () => {
  const hostile = '<img src=x onerror=alert(1)>';
  const changes = {
    name: hostile,
    reason: hostile,
    warnings: [hostile],
    latest: { [hostile]: 1 },
    restarts: [hostile]
  };
  const errors = [{ ranks: hostile, headline: hostile, traceback: hostile }];
  const markup = renderToStaticMarkup(
    <>
      <Header head={head(changes)} skew_s={0} />
      <Notices head={head({ ...changes, errors })} />
      <Metrics head={head(changes)} />
    </>
  );
  assert.doesNotMatch(markup, /<img/);
});

const RANK: Rank = {
  rank: 0,
  pid: 7,
  worker: '',
  host: 'vm',
  gpus: [],
  alive: false,
  phase: '',
  epoch: 0,
  epochs: null,
  step: 0,
  steps: null,
  examples_per_s: null,
  examples: null,
  train_s: null,
  cpu_percent: null,
  memory_bytes: null,
  gpu_percent: null,
  gpu_memory_bytes: null,
  mean_cpu_percent: null,
  peak_memory_bytes: null,
  mean_gpu_percent: null,
  peak_gpu_memory_bytes: null
};

test('ranks have columns for what they told alone', () => {
  const heads = (changes: Partial<Rank>) =>
    [
      ...renderToStaticMarkup(<Ranks ranks={[{ ...RANK, ...changes }]} />).matchAll(/<th scope="col"[^>]*>([^<]*)/g)
    ].map(found => found[1]);
  assert.deepEqual(heads({}), ['rank', 'where']);
  assert.deepEqual(heads({ phase: 'fit', cpu_percent: 3 }), ['rank', 'progress', 'CPU', 'where']);
});

test('a rank that is over tells its epochs, not where it stood last', () => {
  const last: Rank = { ...RANK, phase: 'evaluate', epoch: 12, epochs: 12, step: 1, steps: 12 };
  const markup = renderToStaticMarkup(<Ranks ranks={[last]} isFinal={true} />);
  assert.match(markup, /epoch 12\/12/);
  assert.doesNotMatch(markup, /evaluate|step/);
});

test('an error is told once', () => {
  const errors = [{ ranks: 'ranks 0-1', headline: 'ValueError: no', traceback: '' }];
  const shown = (reason: string) =>
    renderToStaticMarkup(<Header head={head({ state: 'failed', is_final: true, reason, errors })} skew_s={0} />);
  assert.doesNotMatch(shown('ValueError: no [ranks 0-1: same error]'), /ValueError/);
  assert.match(shown('a worker died'), /a worker died/);
});

test('figures', () => {
  assert.deepEqual([percent(0), percent(3.8e-5), percent(0.10449)], ['0 %', '< 0.01 %', '10.4 %']);
  assert.deepEqual(['2013-07-01T22:26:37.702489Z', '2013-10-01T00:00:00+00:00', 'JFK'].map(moment), [
    '2013-07-01 22:26',
    '2013-10-01',
    'JFK'
  ]);
  assert.deepEqual([duration(75), duration(3675), duration(-1)], ['1:15', '1:01:15', '0:00']);
  assert.deepEqual(
    [figure(0.123456), figure(1.5e-7), figure(1234567), figure(null)],
    ['0.1235', '1.500e-7', '1.235e+6', '–']
  );
  assert.deepEqual([amount(512), amount(1_500_000), amount(3 * 2 ** 30)], ['512 B', '1.4 MiB', '3.0 GiB']);
});
