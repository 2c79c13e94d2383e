import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderToStaticMarkup } from 'react-dom/server';
import { act, create, type ReactTestRenderer } from 'react-test-renderer';
import { beyond, numeric, stretches } from '../src/components/study/Parallel';
import { logTicks } from '../src/components/study/Canvas';
import { reach } from '../src/components/study/Curves';
import { Opened } from '../src/components/study/Opened';
import { Best, StudyView } from '../src/components/study/StudyView';
import {
  advanceStudy,
  bestSoFar,
  bounds,
  sorted,
  type StudyHead,
  type StudyModel,
  type StudyUpdate,
  type Trial
} from '../src/study';

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

const HEAD: StudyHead = {
  run_id: 's',
  name: 'tuned',
  experiment: '',
  metric: 'loss',
  direction: 'minimize',
  is_ablation: false,
  effects: [],
  search: 'auto',
  stopping: 'median',
  state: 'running',
  is_final: false,
  can_stop: true,
  is_stop_requested: false,
  reason: '',
  queue: '',
  wanted: 10,
  counts: { running: 0, done: 2, stopped: 1, failed: 1 },
  stopped_by_hand: 0,
  places: 2,
  places_wanted: 2,
  names: ['lr'],
  log_names: ['lr'],
  metrics: ['accuracy'],
  step_name: 'epoch',
  started_at: 1,
  ended_at: null,
  best: 1,
  per_minute: 3,
  remaining_s: 60,
  warnings: [],
  restarts: [],
  failures: [],
  importance: {},
  best_code: '',
  report_html: ''
};

function trial(number: number, state: Trial['state'], value: number | null, ended: number): Trial {
  return {
    number,
    state,
    value,
    values: { lr: number / 10 },
    step: 3,
    metrics: { loss: value, accuracy: 0.77 },
    started_at: 0,
    ended_at: ended,
    retries: 0,
    place: '',
    reason: ''
  };
}

const TRIALS = [
  trial(0, 'done', 0.9, 1),
  trial(1, 'done', 0.2, 3),
  trial(2, 'stopped', 0.1, 2),
  trial(3, 'failed', null, 4)
];

function update(seq: number, changes: Partial<StudyUpdate> = {}): StudyUpdate {
  return { type: 'update', seq, reset: seq === 0, now: 0, head: seq === 0 ? HEAD : {}, ...changes };
}

function study(): StudyModel {
  const model = advanceStudy(null, update(0, { trials: TRIALS }), 5);
  assert.ok(model);
  return model;
}

test('later messages change only what they tell, and a missed one is noticed', () => {
  const next = advanceStudy(study(), update(1, { head: { state: 'done' }, trials: [trial(0, 'done', 0.8, 1)] }), 5);
  assert.equal(next?.head.state, 'done');
  assert.equal(next.head.name, 'tuned');
  assert.equal(next.trials.get(0)?.value, 0.8);
  assert.equal(next.trials.size, 4);
  assert.equal(advanceStudy(study(), update(7), 5), null);
});

test('curves grow from an index', () => {
  const first = advanceStudy(study(), update(1, { curves: [{ trial: 0, at: 0, steps: [1, 2], values: [3, 2] }] }), 5);
  const next = advanceStudy(first, update(2, { curves: [{ trial: 0, at: 1, steps: [3], values: [1] }] }), 5);
  assert.deepEqual(next?.curves.get(0), { steps: [1, 3], values: [3, 1] });
});

test('the best so far counts trials that came to their end, in the order of their ends', () => {
  assert.deepEqual(bestSoFar(study()), [
    { at: 1, value: 0.9 },
    { at: 3, value: 0.2 }
  ]);
});

test('trials sort by any column, those without a value last', () => {
  const numbers = (...how: [Parameters<typeof sorted>[1], boolean]) =>
    sorted(study(), ...how, '').map(each => each.number);
  assert.deepEqual(numbers('value', false), [2, 1, 0, 3]);
  assert.deepEqual(numbers('value', true), [0, 1, 2, 3]);
  assert.deepEqual(numbers('values.lr', true), [3, 2, 1, 0]);
  assert.deepEqual(
    sorted(study(), 'number', false, 'stopped').map(each => each.number),
    [2]
  );
});

test('curves keep a step 0, and begin at 1 where there is none', () => {
  const curve = (...steps: number[]) => ({ steps, values: steps });
  assert.deepEqual(reach([curve(0, 5), curve(1, 9)], false), [0, 9]);
  assert.deepEqual(reach([curve(3, 5)], false), [1, 5]);
  assert.deepEqual(reach([curve(0.4, 7.5)], true), [0, 7.5]);
  assert.deepEqual(reach([], false), [1, 2]);
});

test('the best of when it is asked for is inserted, and a better one that comes later is told', () => {
  const inserted: string[] = [];
  const shown = (best_code: string) => (
    <Best
      head={{ ...HEAD, best_code }}
      trial={trial(1, 'done', 0.2, 3)}
      onInsert={() => {
        inserted.push(best_code);
      }}
    />
  );
  let view: ReactTestRenderer | undefined;
  act(() => {
    view = create(shown('lr = 0.1'));
  });
  const button = () => view?.root.findByType('button');
  const press = () => {
    act(() => {
      (button()?.props as { onClick: () => void }).onClick();
    });
  };
  assert.equal(button()?.children[0], 'Insert best as a cell');
  act(() => view?.update(shown('lr = 0.2')));
  press();
  assert.deepEqual(inserted, ['lr = 0.2']);
  assert.equal(button()?.children[0], 'Comes below, and is copied');
  act(() => view?.update(shown('lr = 0.3')));
  assert.equal(button()?.children[0], 'A better one has come: insert it as a cell');
  press();
  assert.deepEqual(inserted, ['lr = 0.2', 'lr = 0.3']);
});

test('curves have times where they are told', () => {
  const first = advanceStudy(
    study(),
    update(1, { curves: [{ trial: 0, at: 0, steps: [1, 2], values: [3, 2], times: [0.5, 1] }] }),
    5
  );
  const next = advanceStudy(
    first,
    update(2, { curves: [{ trial: 0, at: 1, steps: [3], values: [1], times: [4] }] }),
    5
  );
  assert.deepEqual(next?.curves.get(0)?.times, [0.5, 4]);
});

test('marks of a logarithmic axis are round', () => {
  assert.deepEqual(logTicks(0.02, 3), [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]);
  assert.deepEqual(logTicks(1e-4, 20), [0.0001, 0.001, 0.01, 0.1, 1, 10]);
});

test('trials are shown by epochs, without columns that say nothing, with other metrics where they are asked for', () => {
  const show = () => renderToStaticMarkup(<StudyView study={study()} opened={new Map()} onOpen={() => undefined} />);
  const markup = show();
  assert.match(markup, />by time<|> by time</);
  assert.match(markup, /<bdi>epoch<\/bdi>/);
  assert.doesNotMatch(markup, /<bdi>(step|retries)<\/bdi>/);
  assert.doesNotMatch(markup, />why</);
  assert.match(markup, /<bdi>seconds<\/bdi><\/button>/);
  assert.doesNotMatch(markup, /0\.77/);
  const named = JSON.stringify([
    ['metrics.accuracy', false],
    ['seconds', true]
  ]);
  Object.assign(globalThis, { localStorage: { getItem: () => named, setItem: () => undefined } });
  const chosen = show();
  Reflect.deleteProperty(globalThis, 'localStorage');
  assert.match(chosen, /0\.77/);
  assert.doesNotMatch(chosen, /<bdi>seconds<\/bdi><\/button>/);
});

test('a trial that is opened tells what its fits were called with', () => {
  const told = { type: 'trial', trial: 1, curves: [], output: [], error: '', parameters: { epochs: '9' } } as const;
  const markup = renderToStaticMarkup(
    <Opened trial={trial(1, 'done', 0.2, 3)} told={{ ...told, curves: [], output: [] }} onClose={() => undefined} />
  );
  assert.match(markup, /<bdi>epochs<\/bdi><\/th><td><bdi>9<\/bdi>/);
});

test('a few diverged values do not stretch an axis', () => {
  const [low, high] = bounds([...Array.from({ length: 20 }, (_, index) => index), 1e9]);
  assert.ok(low > -5 && high < 100);
});

test('the best tells when it was found, and an effect its interval', () => {
  const model = study();
  const show = (head: StudyHead) =>
    renderToStaticMarkup(<StudyView study={{ ...model, head }} opened={new Map()} onOpen={() => undefined} />);
  assert.match(show({ ...HEAD, started_at: -70 }), /best loss, trial 1, after 1:13/);
  const effect = { component: 'bn', text: '', difference: -1, low: -2, high: 0 };
  const effects = [effect, { ...effect, component: 'single', low: null, high: null }];
  const markup = show({ ...HEAD, is_ablation: true, effects });
  assert.equal(markup.match(/hops-effect-bar/g)?.length, 2);
  assert.equal(markup.match(/title="95 percent interval: -2 to 0" style="left:0%;width:100%"/g)?.length, 1);
});

test('names and messages are text', () => {
  const hostile = '<img src=x onerror=alert(1)>';
  const model = study();
  const shown = {
    ...model,
    head: {
      ...HEAD,
      name: hostile,
      reason: hostile,
      warnings: [hostile],
      failures: [{ trials: hostile, reason: hostile }]
    }
  };
  const markup = renderToStaticMarkup(<StudyView study={shown} opened={new Map()} onOpen={() => undefined} />);
  assert.doesNotMatch(markup, /<img/);
});

test('a trial that was stopped by hand was not stopped early', () => {
  const model = study();
  const told = (stopped: number, by_hand: number) =>
    renderToStaticMarkup(
      <StudyView
        study={{
          ...model,
          head: { ...model.head, counts: { ...model.head.counts, stopped }, stopped_by_hand: by_hand }
        }}
        opened={new Map()}
        onOpen={() => undefined}
      />
    );
  assert.match(told(3, 1), /2 stopped early · 1 stopped by hand/);
  assert.doesNotMatch(told(1, 1), /stopped early/);
  assert.doesNotMatch(told(1, 0), /by hand/);
});

test('a line without a value on an axis passes it at no place', () => {
  const found = stretches([0, null, 0.5, 1, null, null, 0.25]);
  assert.deepEqual(
    found.map(stretch => stretch.map(({ index, place }) => [index, place])),
    [
      [[0, 0]],
      [
        [2, 0.5],
        [3, 1]
      ],
      [[6, 0.25]]
    ]
  );
});

test('values beyond an axis are drawn and counted beyond its end, not on it', () => {
  const axis = numeric('loss', 0.1, 0.5, false);
  const lines = [0.1, 0.5, 0.51, 9, 0.05].map(metric => ({
    values: {},
    metric,
    colour: '',
    opacity: 1,
    width: 1
  }));
  assert.deepEqual(
    lines.slice(0, 2).map(line => axis.place(line.metric)),
    [0, 1]
  );
  assert.deepEqual(beyond(axis, true, lines), [2, 1]);
});
