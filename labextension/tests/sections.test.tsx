import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { renderToStaticMarkup } from 'react-dom/server';
import { act, create, type ReactTestRenderer } from 'react-test-renderer';
import { Api, type Answer, type Query, type Transport } from '../src/api/client';
import type { TextPart } from '../src/api/types';
import { AppProvider, type AppContext } from '../src/app';
import { Doing } from '../src/parts/doing';
import { Loading } from '../src/parts/frame';
import { RecordedOutput } from '../src/screens/experiments/RecordedOutput';
import { Datasets } from '../src/screens/features/Datasets';
import { english } from '../src/translate';

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

type Endpoint = (at: string, query: Query) => Answer;

/** A server that answers as a test says, and speaks of a run when it is told to. */
class Server implements Transport {
  seq = 1;
  speak: (topics: string[]) => void = () => undefined;

  constructor(private readonly _answer: Endpoint) {}

  request(_: string, at: string, query: Query): Promise<Answer> {
    const changes = { boot: 'a', seq: this.seq, reset: false, topics: [] };
    return Promise.resolve(at === '/changes' ? { status: 200, body: changes } : this._answer(at, query));
  }

  listen(hear: Parameters<Transport['listen']>[0]): () => void {
    this.speak = topics => {
      hear({ boot: 'a', seq: ++this.seq, topics });
    };
    return () => undefined;
  }
}

async function shown(
  element: React.JSX.Element,
  answer: Endpoint
): Promise<{ root: ReactTestRenderer; server: Server }> {
  const server = new Server(answer);
  const context = { api: new Api(server), trans: english, open: () => undefined } as unknown as AppContext;
  let root: ReactTestRenderer | undefined;
  await act(() => {
    root = create(<AppProvider.Provider value={context}>{element}</AppProvider.Provider>);
  });
  assert.ok(root);
  return { root, server };
}

const textOf = (root: ReactTestRenderer) => JSON.stringify(root.toJSON());

test('all training datasets can be reached, and what keeps them away is told', async () => {
  const names = Array.from({ length: 130 }, (_, index) => `set${String(index)}@1`);
  const { root } = await shown(<Datasets />, (_, query) => {
    const items = names.slice(Number(query.offset)).slice(0, Number(query.limit));
    const body = { items: items.map(name => ({ full_name: name, rows: { train: 8 } })), total: names.length };
    return { status: 200, body };
  });
  assert.match(textOf(root), /set99@1/);
  assert.doesNotMatch(textOf(root), /set129@1/);
  const more = root.root.findByProps({ className: 'hops-button' });
  await act(() => {
    (more.props as { onClick: () => void }).onClick();
  });
  assert.match(textOf(root), /set129@1/);
  root.unmount();
  const broken = await shown(<Datasets />, () => ({ status: 503, body: { title: 'Broken', detail: 'it is gone' } }));
  assert.match(textOf(broken.root), /it is gone/);
  broken.root.unmount();
});

test('of an output that grows only what is new is asked for, and what was shown stays', async () => {
  const asked: Query[] = [];
  let written = 'a'.repeat(150_000);
  const { root, server } = await shown(<RecordedOutput runId="r1" ranks={2} />, (_, query) => {
    asked.push(query);
    const limit = Number(query.limit);
    const start = query.offset === undefined ? Math.max(0, written.length - limit) : Number(query.offset);
    const text = written.slice(start, start + limit);
    const part: TextPart = { text, start, end: start + text.length, total: written.length };
    return { status: 200, body: part };
  });
  const click = (label: RegExp) =>
    act(() => {
      const button = root.root.find(each => each.type === 'button' && label.test(String(each.props.children)));
      (button.props as { onClick: () => void }).onClick();
    });
  await click(/Earlier/);
  written += 'the end';
  await act(() => {
    server.speak(['run/r1']);
  });
  assert.deepEqual(asked.at(-1), { rank: 0, offset: 150_000, limit: 1_000_000 });
  const pre = root.root.findByType('pre');
  assert.equal(textOf(root).match(/a{150000}the end/)?.length, 1);
  assert.equal(pre.props['aria-label'], 'Output of rank 0');
  await act(() => {
    const select = root.root.findByType('select');
    (select.props as { onChange: (event: unknown) => void }).onChange({ target: { value: '1' } });
  });
  assert.equal(asked.at(-1)?.rank, 1);
  root.unmount();
});

test('a first answer that takes long says that it may', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { root } = await shown(<Loading />, () => ({ status: 200, body: null }));
    assert.doesNotMatch(textOf(root), /takes a while/);
    await act(() => {
      mock.timers.tick(3000);
    });
    assert.match(textOf(root), /takes a while/);
    root.unmount();
  } finally {
    mock.timers.reset();
  }
});

test('what is being done is not asked for twice', async () => {
  let end: () => void = () => undefined;
  const onClick = () =>
    new Promise<void>(resolve => {
      end = resolve;
    });
  const { root } = await shown(<Doing label="Delete" doing="Deleting…" onClick={onClick} />, () => ({
    status: 200,
    body: null
  }));
  const button = root.root.findByType('button');
  await act(() => {
    (button.props as { onClick: () => void }).onClick();
  });
  assert.equal(button.props.disabled, true);
  assert.match(textOf(root), /Deleting…/);
  await act(() => {
    end();
  });
  assert.equal(button.props.disabled, false);
  root.unmount();
  const elsewhere = <Doing label="Stop" doing="Stopping…" isDoing={true} onClick={onClick} />;
  assert.match(renderToStaticMarkup(elsewhere), /disabled=""[^>]*>Stopping…/);
});
