import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newsOf } from '../src/screens/experiments/live';
import { halted, quietOf } from '../src/screens/experiments/quiet';
import { head } from './samples';

const live = { cursor: 'a.1', kind: 'run' as const, is_final: false, updates: [] };

test('news of a cluster that is heard are new, those of a record as old as the record', () => {
  assert.deepEqual(newsOf({ ...live, is_heard: true, news_at: 90 }, 2, 100), { isHeard: true, at_s: 100 });
  // by the clock of the page, which is two seconds ahead of the server's
  assert.deepEqual(newsOf({ ...live, is_heard: false, news_at: 90 }, 2, 100), { isHeard: false, at_s: 92 });
});

test('a view says since when there are no news, and who is silent', () => {
  const news = { isHeard: true, at_s: 100 };
  assert.equal(quietOf(news, true, 1000), null);
  assert.deepEqual(quietOf(news, false, 101), { since_s: 100, who: 'server' });
  assert.equal(quietOf({ ...news, isHeard: false }, true, 110), null);
  assert.deepEqual(quietOf({ ...news, isHeard: false }, true, 116), { since_s: 100, who: 'cluster' });
});

test('the clock of a run stands where news ended', () => {
  const model = {
    seq: 1,
    skew_s: 5,
    head: head({ started_at: 10, ended_at: null, remaining_s: 30 }),
    ranks: {},
    curves: {},
    output: {},
    displays: []
  };
  const still = halted(model, 100).head;
  assert.deepEqual([still.ended_at, still.remaining_s], [95, null]);
  assert.equal(halted({ ...model, head: head({ ended_at: 20 }) }, 100).head.ended_at, 20);
});
