import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advance, MAX_OUTPUT_CHARS, type RunModel, type Update } from '../src/model';
import { curve, update } from './samples';

function fold(...updates: Update[]): RunModel {
  const end = updates.reduce<RunModel | null>((model, each) => advance(model, each, 5), null);
  assert.ok(end);
  return end;
}

test('later messages change only what they tell', () => {
  const run = fold(update(0), update(1, { head: { state: 'done', is_final: true } }));
  assert.equal(run.head.state, 'done');
  assert.equal(run.head.name, 'digits');
  assert.equal(run.skew_s, 5);
});

test('a missed message is noticed, and the whole mends it', () => {
  const run = fold(update(0), update(1));
  assert.equal(advance(run, update(3), 0), null);
  assert.equal(advance(null, update(1), 0), null);
  assert.equal(advance(run, update(0), 0)?.seq, 1);
});

test('curves grow from an index, which replaces a provisional end', () => {
  const run = fold(
    update(0, { curves: [{ ...curve('loss', 'batch', [3, 2]), at: 0 }] }),
    update(1, { curves: [{ ...curve('loss', 'batch', []), steps: [4, 5], values: [1, null], at: 1 }] })
  );
  const [only] = Object.values(run.curves);
  assert.deepEqual(only?.steps, [1, 4, 5]);
  assert.deepEqual(only.values, [3, 1, null]);
});

test('curves of one metric stay apart by scope, fit and rank', () => {
  const all = [
    curve('loss', 'batch', [1]),
    curve('loss', 'epoch', [1]),
    curve('loss', 'batch', [1], { series: 2 }),
    curve('loss', 'batch', [1], { rank: 1 })
  ];
  const run = fold(update(0, { curves: all.map(each => ({ ...each, at: 0 })) }));
  assert.equal(Object.keys(run.curves).length, 4);
});

test('output is appended, joined by stream', () => {
  const run = fold(
    update(0, { output: [{ rank: 0, start: 0, end: 2, parts: [['stdout', 'a\n']] }] }),
    update(1, {
      output: [
        {
          rank: 0,
          start: 2,
          end: 7,
          parts: [
            ['stdout', 'b\n'],
            ['stderr', 'no\n']
          ]
        }
      ]
    })
  );
  assert.deepEqual(run.output[0], {
    end: 7,
    isCut: false,
    parts: [
      ['stdout', 'a\nb\n'],
      ['stderr', 'no\n']
    ]
  });
});

test('characters beyond the basic plane, which JavaScript counts twice, lose nothing', () => {
  const run = fold(
    update(0, { output: [{ rank: 0, start: 0, end: 2, parts: [['stdout', '🎉\n']] }] }),
    update(1, { output: [{ rank: 0, start: 2, end: 3, parts: [['stdout', '!']] }] })
  );
  assert.deepEqual(run.output[0]?.parts, [['stdout', '🎉\n!']]);
});

test('a gap in the output begins it anew, and says that something is missing', () => {
  const run = fold(
    update(0, { output: [{ rank: 0, start: 0, end: 1, parts: [['stdout', 'a']] }] }),
    update(1, { output: [{ rank: 0, start: 90, end: 91, parts: [['stdout', 'z']] }] })
  );
  assert.deepEqual(run.output[0], { end: 91, isCut: true, parts: [['stdout', 'z']] });
});

test('only the newest output is kept', () => {
  const long = 'x'.repeat(MAX_OUTPUT_CHARS);
  const run = fold(
    update(0, { output: [{ rank: 0, start: 0, end: 4, parts: [['stderr', 'old\n']] }] }),
    update(1, { output: [{ rank: 0, start: 4, end: 4 + long.length, parts: [['stdout', long]] }] })
  );
  assert.deepEqual(run.output[0], { end: 4 + long.length, isCut: true, parts: [['stdout', long]] });
});

test('displays forget the oldest', () => {
  const shown = (text: string) => ({ rank: 0, data: { 'text/plain': text } });
  const run = fold(
    update(0, { displays: { drop: 0, add: [shown('a'), shown('b')] } }),
    update(1, { displays: { drop: 1, add: [shown('c')] } })
  );
  assert.deepEqual(run.displays, [shown('b'), shown('c')]);
});

test('the clocks differ by the least that messages say: the others were on their way', () => {
  const late = [0, 1, 2].reduce<RunModel | null>(
    (model, seq) => advance(model, update(seq), [7, 5, 9][seq] ?? 0),
    null
  );
  assert.equal(late?.skew_s, 5);
});
