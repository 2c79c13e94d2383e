import assert from 'node:assert/strict';
import { test } from 'node:test';
import { align, charts, smoothed } from '../src/charts';
import { curve } from './samples';

test('training and validation share a chart, losses come first', () => {
  const shown = charts(['accuracy', 'val_loss', 'loss'].map(name => curve(name, 'epoch', [1, 2])));
  assert.deepEqual(
    shown.map(chart => [chart.title, ...chart.lines.map(line => line.label)]),
    [
      ['loss', 'loss', 'val_loss'],
      ['accuracy', 'accuracy']
    ]
  );
});

test('steps are shown until there are two epochs', () => {
  const batches = curve('loss', 'batch', [3, 2, 1]);
  assert.equal(charts([batches, curve('loss', 'epoch', [2])])[0]?.unit, 'step');
  assert.equal(charts([batches, curve('loss', 'epoch', [2, 1])])[0]?.unit, 'epoch');
});

test('the newest fit is shown unless another is asked for', () => {
  const all = [curve('loss', 'batch', [3]), curve('loss', 'batch', [1], { series: 2 }), curve('auc', 'batch', [9])];
  assert.deepEqual(
    charts(all).map(chart => chart.lines[0]?.curve.values[0]),
    [1, 9]
  );
  assert.equal(charts(all, 1)[0]?.lines[0]?.curve.values[0], 3);
});

test('ranks are told apart where there are several', () => {
  const shown = charts([curve('grad', 'user', [1]), curve('grad', 'user', [2], { rank: 1 })]);
  assert.deepEqual(
    shown[0]?.lines.map(line => line.label),
    ['grad · rank 0', 'grad · rank 1']
  );
});

test('lines with other steps are put on common ones', () => {
  const a = { label: 'a', curve: curve('a', 'user', [1, 2], { steps: [1, 3] }) };
  const b = { label: 'b', curve: curve('b', 'user', [5], { steps: [2] }) };
  assert.deepEqual(align([a, b]), [
    [1, 2, 3],
    [1, undefined, 2],
    [undefined, 5, undefined]
  ]);
});

test('steps are drawn where a user asks for them, and time has both', () => {
  const all = [curve('loss', 'epoch', [3, 2]), curve('loss', 'batch', [4, 3, 2]), curve('val_loss', 'epoch', [3, 2])];
  assert.deepEqual([charts(all)[0]?.unit, charts(all)[0]?.lines.length], ['epoch', 2]);
  assert.deepEqual([charts(all, 1, 'step')[0]?.unit, charts(all, 1, 'step')[0]?.lines.length], ['step', 1]);
  const [timed] = charts(all, 1, 'time');
  assert.equal(timed?.unit, 'time');
  assert.deepEqual(
    timed.lines.map(line => [line.label, line.curve.steps]),
    [
      ['loss', [0, 1, 2]],
      ['val_loss', [0, 1]]
    ]
  );
});

test('a smooth line begins at its first point and keeps gaps', () => {
  assert.deepEqual(smoothed([4, null, 4], 0.5), [4, null, 4]);
  const [first, second] = smoothed([0, 3], 0.5);
  assert.equal(first, 0);
  assert.ok(Math.abs((second ?? 0) - 2) < 1e-9);
});
