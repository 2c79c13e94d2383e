import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderToStaticMarkup } from 'react-dom/server';
import { Header } from '../src/components/Header';
import { Metrics } from '../src/components/Metrics';
import { Notices } from '../src/components/Notices';
import { amount, duration, figure } from '../src/format';
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

test('figures', () => {
  assert.deepEqual([duration(75), duration(3675), duration(-1)], ['1:15', '1:01:15', '0:00']);
  assert.deepEqual(
    [figure(0.123456), figure(1.5e-7), figure(1234567), figure(null)],
    ['0.1235', '1.500e-7', '1.235e+6', '–']
  );
  assert.deepEqual([amount(512), amount(1_500_000), amount(3 * 2 ** 30)], ['512 B', '1.4 MiB', '3.0 GiB']);
});
