import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderToStaticMarkup } from 'react-dom/server';
import type { Lineage, RunRow } from '../src/api/types';
import { Bars, Sparkline } from '../src/parts/pictures';
import { age, Marked, marks, plain } from '../src/parts/text';
import { inRanks } from '../src/screens/ClusterSection';
import { overlaid } from '../src/screens/CompareDetail';
import { folded } from '../src/screens/experiments/live';
import { changes, tagsOf, textOf } from '../src/screens/experiments/Said';
import { differing, linesOf } from '../src/screens/experiments/ParallelRuns';
import { getCode, groupName, quoted } from '../src/screens/features/code';
import { joined } from '../src/screens/experiments/RecordedOutput';
import { layout } from '../src/screens/lineage/layout';
import { english } from '../src/translate';
import { head } from './samples';

const HOSTILE = '<img src=x onerror=alert(1)>\u202e\u001b[31mred\u0007';

function row(changes: Partial<RunRow>): RunRow {
  return {
    run_id: 'r1',
    name: 'good',
    experiment: 'digits',
    kind: 'run',
    state: 'done',
    is_final: true,
    can_stop: false,
    is_deleted: false,
    reason: '',
    user: 'me',
    parent: '',
    created_at: 1,
    started_at: 1,
    ended_at: 2,
    duration_s: 1,
    progress: '',
    fraction: null,
    leading: null,
    metrics: {},
    by_epoch: [],
    params: {},
    note: '',
    tags: {},
    ...changes
  };
}

test('texts of others turn nothing around and hide nothing', () => {
  assert.equal(plain(HOSTILE), '<img src=x onerror=alert(1)>�red�');
  assert.equal(plain('x'.repeat(10), 5), 'xxxx…');
  const { start, end } = marks('average budget', 'BUDG');
  const markup = renderToStaticMarkup(<Marked text="average budget" start={start} end={end} />);
  assert.match(markup, /average <mark>budg<\/mark>et/);
  assert.doesNotMatch(renderToStaticMarkup(<Marked text={HOSTILE} start={0} end={4} />), /<img/);
});

test('small pictures say what they show', () => {
  const sketch = { labels: ['a', HOSTILE], counts: [3, 1] };
  const bars = renderToStaticMarkup(<Bars sketch={sketch} label="Distribution of x" />);
  assert.match(bars, /aria-label="Distribution of x"/);
  assert.match(bars, /<title>a: 3<\/title>/);
  assert.doesNotMatch(bars, /<img/);
  // a value that is missing breaks no line
  assert.match(renderToStaticMarkup(<Sparkline values={[1, null, 3]} label="loss" />), /0\.0,22\.0 100\.0,2\.0/);
  assert.doesNotMatch(renderToStaticMarkup(<Sparkline values={[1]} label="loss" />), /polyline/);
});

test('what ranks use is told as far as they have said', () => {
  const nothing = { cpu_percent: null, memory_bytes: null, gpu_percent: null, gpu_memory_bytes: null };
  assert.equal(inRanks({ ranks: 1, ...nothing }, english), '1 rank');
  const some = { ranks: 2, ...nothing, cpu_percent: 181.4, memory_bytes: 3 * 2 ** 30, gpu_percent: 45 };
  assert.equal(inRanks(some, english), '2 ranks · CPU 181 % · 3.0 GiB · GPU 45 %');
});

test('ages are short', () => {
  assert.deepEqual([1, 59, 3600, 86400 * 3].map(age), ['now', '59s ago', '1h ago', '3d ago']);
});

test('features that are chosen become a magic', () => {
  assert.equal(getCode(['teams.wins', 'teams.budget']), '%features get teams.wins teams.budget --as df');
  // the magics split lines like a shell
  assert.equal(getCode(["teams.it's 5 $"]), `%features get 'teams.it'"'"'s 5 $' --as df`);
  assert.equal(quoted('teams@2.*'), 'teams@2.*');
  const versions = [1, 2, 10];
  assert.deepEqual(
    [2, 10].map(version => groupName({ name: 'teams', version, versions })),
    ['teams@2', 'teams']
  );
});

test('answers of a live run are folded like messages of a notebook', () => {
  const update = (seq: number, changes: object) => ({
    type: 'update' as const,
    seq,
    reset: seq === 0,
    now: 1,
    head: { ...head(), ...changes }
  });
  const none = { run: null, study: null };
  const first = folded(
    none,
    { cursor: 'a.1', kind: 'run', is_final: false, is_heard: true, news_at: 0, updates: [update(0, {})] },
    1
  );
  assert.ok(first);
  assert.equal(first.run?.head.state, head().state);
  const next = folded(
    first,
    {
      cursor: 'a.2',
      kind: 'run',
      is_final: true,
      is_heard: true,
      news_at: null,
      updates: [update(1, { state: 'done' })]
    },
    1
  );
  assert.equal(next?.run?.head.state, 'done');
  // an answer that does not fit makes the whole be asked for
  assert.equal(
    folded(
      none,
      { cursor: 'a.3', kind: 'run', is_final: false, is_heard: true, news_at: 0, updates: [update(4, {})] },
      1
    ),
    null
  );
});

test('runs that are compared share a chart and axes', () => {
  const runs = [
    row({ metrics: { loss: 1 } }),
    row({ run_id: 'r2', name: 'bad', params: { lr: '10' }, metrics: { loss: 2 } })
  ];
  const course = { name: 'loss', steps: [1, 2], values: [1, 0.5], at: [1, 2], is_thinned: false };
  assert.deepEqual(
    overlaid('loss', runs, [course, null]).lines.map(line => line.label),
    ['good r1']
  );
  // a line has the colour of its run, whichever runs lack the metric
  assert.deepEqual(
    overlaid('loss', runs, [null, course]).lines.map(line => line.colour),
    [1]
  );
  assert.deepEqual(differing(runs), ['lr']);
  const lines = linesOf(runs, ['lr'], 'loss');
  assert.equal(lines.find(line => line.title === 'bad r2')?.values.lr, 10);
  assert.equal(new Set(lines.map(line => line.colour)).size, 2);
  assert.deepEqual(linesOf(runs, ['lr'], 'accuracy'), []);
});

test('lineage stands in columns, in the order in which one is made from the other', () => {
  const node = (id: string, kind: Lineage['nodes'][number]['kind']) => ({
    id,
    kind,
    name: id,
    label: id,
    at: 1,
    state: ''
  });
  const graph: Lineage = {
    focus: 'm',
    nodes: [node('m', 'model'), node('g1', 'group'), node('g2', 'group'), node('r', 'run')],
    edges: [
      { source: 'g1', target: 'r', features: [], commit: 1 },
      { source: 'r', target: 'm', features: [], commit: null }
    ],
    is_cut: false
  };
  const { placed, columns } = layout(graph);
  assert.deepEqual(
    columns.map(column => column.kind),
    ['group', 'run', 'model']
  );
  assert.ok((placed.get('g1')?.x ?? 0) < (placed.get('r')?.x ?? 0));
  assert.notEqual(placed.get('g1')?.y, placed.get('g2')?.y);
});

test('parts of an output are joined where they meet', () => {
  const part = (start: number, text: string, total = 100) => ({
    start,
    end: start + Array.from(text).length,
    text,
    total
  });
  assert.deepEqual(joined(null, part(3, 'abc')), part(3, 'abc'));
  assert.deepEqual(joined(part(3, 'a😀'), part(5, 'bc', 120)), part(3, 'a😀bc', 120));
  // an output that began anew does not go on from the old one
  assert.equal(joined(part(3, 'abc'), part(2, 'x')), null);
  const long = 'x'.repeat(1_500_000);
  const both = joined(part(0, `😀${long}`), part(1_500_001, long));
  assert.equal(both?.end, 3_000_001);
  assert.equal(both.text.length, both.end - both.start);
});

test('tags are typed as names with values after a colon', () => {
  const before = { baseline: '', author: 'ada' };
  assert.equal(textOf(before), 'baseline, author: ada');
  assert.deepEqual(tagsOf(' baseline, author: ada ,, at: 10:30'), { ...before, at: '10:30' });
  assert.deepEqual(changes(before, { author: 'bob', at: '' }), { baseline: null, author: 'bob', at: '' });
});

test('curves of compared runs count epochs where their metric does', () => {
  const runs = [row({ by_epoch: ['loss'] }), row({ run_id: 'r2', by_epoch: ['loss'] })];
  const course = { name: 'loss', steps: [1, 2], values: [2, 1], at: [10, 20], is_thinned: false };
  assert.equal(overlaid('loss', runs, [course, course]).unit, 'epoch');
  assert.equal(overlaid('loss', [...runs, row({})], [course, null, course]).unit, 'step');
});
