import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, create, type ReactTestRenderer } from 'react-test-renderer';
import { Api, type Answer, type Query, type Transport } from '../src/api/client';
import type { Changed } from '../src/api/types';
import { AppProvider, AwakeContext, useAsked, type AppContext, type Asked } from '../src/app';
import { Rows } from '../src/parts/grid';
import { PAGE, usePages, type Pages } from '../src/parts/paged';
import { english } from '../src/translate';

Object.assign(globalThis, {
  IS_REACT_ACT_ENVIRONMENT: true,
  ResizeObserver: class {
    observe(): void {
      observed.add(this.measure);
    }
    disconnect(): void {
      observed.delete(this.measure);
    }
    constructor(readonly measure: () => void) {}
  }
});
const observed = new Set<() => void>();

/** A server with rows, newest first, which answers when the test lets it. */
class Server implements Transport {
  rows = Array.from({ length: 350 }, (_, index) => `old ${String(index)}`);
  asked: number[] = [];
  isAway = false;
  private seq = 1;
  private hear: (changed: Changed) => void = () => undefined;

  request(_: string, at: string, query: Query): Promise<Answer> {
    if (at === '/changes') {
      return Promise.resolve({ status: 200, body: { boot: 'a', seq: this.seq, reset: false, topics: [] } });
    }
    const [offset, limit] = [Number(query.offset), Number(query.limit)];
    this.asked.push(offset);
    if (this.isAway) {
      return Promise.resolve({ status: 500, body: { title: 'Broken', detail: 'the disk is full' } });
    }
    const items = this.rows.slice(offset, offset + limit);
    return Promise.resolve({ status: 200, body: { items, hasMore: offset + limit < this.rows.length } });
  }

  listen(hear: (changed: Changed) => void): () => void {
    this.hear = hear;
    return () => undefined;
  }

  async change(): Promise<void> {
    await act(() => {
      this.hear({ boot: 'a', seq: ++this.seq, topics: ['runs'] });
    });
  }
}

interface Screen {
  server: Server;
  root: ReactTestRenderer;
  show: (isAwake?: boolean) => Promise<void>;
}

async function shown(element: React.JSX.Element): Promise<Screen> {
  const server = new Server();
  const context = { api: new Api(server), trans: english } as unknown as AppContext;
  const page = (isAwake: boolean) => (
    <AppProvider.Provider value={context}>
      <AwakeContext.Provider value={isAwake}>{element}</AwakeContext.Provider>
    </AppProvider.Provider>
  );
  let root: ReactTestRenderer | undefined;
  await act(() => {
    root = create(page(true), { createNodeMock: node });
  });
  assert.ok(root);
  const made = root;
  const show = async (isAwake = true) => {
    await act(() => {
      made.update(page(isAwake));
    });
  };
  return { server, root, show };
}

let place = { scrollTop: 0, clientHeight: 200, querySelector: () => null };
function node(): unknown {
  return (place = { scrollTop: 0, clientHeight: 200, querySelector: () => null });
}

let pages: Pages<string>;
function List(): React.JSX.Element {
  pages = usePages<string>(
    'rows',
    (api, offset, limit) => api.get('/rows', { offset, limit }),
    ['runs'],
    item => item
  );
  return <ul>{pages.data?.length}</ul>;
}

const more = () =>
  act(() => {
    pages.more();
  });
const see = (first: number, last: number) =>
  act(() => {
    pages.see(first, last);
  });

test('rows that new ones push out of the first page stay in the list, once', async () => {
  const { server, root } = await shown(<List />);
  await more();
  await see(PAGE - 5, PAGE + 5);
  server.rows.unshift('new 0', 'new 1');
  await server.change();
  assert.equal(pages.data?.length, 2 * PAGE);
  assert.deepEqual(pages.data, server.rows.slice(0, 2 * PAGE));
  // what is asked for next goes on where the pages end
  await more();
  assert.deepEqual(pages.data, server.rows.slice(0, 3 * PAGE));
  root.unmount();
});

test('a row far down is asked again when it is in sight, and no other page', async () => {
  const { server, root } = await shown(<List />);
  await more();
  await more();
  await see(2 * PAGE, 2 * PAGE + 20);
  server.asked = [];
  server.rows[2 * PAGE + 3] = 'changed';
  server.rows[PAGE + 3] = 'changed out of sight';
  await server.change();
  assert.deepEqual(server.asked, [0, 2 * PAGE]);
  assert.equal(pages.data?.[2 * PAGE + 3], 'changed');
  assert.equal(pages.data[PAGE + 3], `old ${String(PAGE + 3)}`);
  // it is old until somebody looks at it
  await see(PAGE, PAGE + 20);
  assert.equal(pages.data[PAGE + 3], 'changed out of sight');
  root.unmount();
});

test('a page of rows that are all known leads on to the next', async () => {
  const { server, root } = await shown(<List />);
  await see(0, 10);
  server.rows.unshift(...Array.from({ length: PAGE }, (_, index) => `new ${String(index)}`));
  // the second page is now what the first one was, and the list does not know it yet
  await more();
  assert.equal(pages.data?.length, PAGE);
  await more();
  assert.equal(pages.data.length, 2 * PAGE);
  await server.change();
  assert.deepEqual(pages.data, server.rows.slice(0, 3 * PAGE));
  root.unmount();
});

test('a list that has become shorter ends where the server says', async () => {
  const { server, root } = await shown(<List />);
  await more();
  await more();
  server.rows = server.rows.slice(0, 30);
  await server.change();
  assert.equal(pages.data?.length, 30);
  assert.equal(pages.hasMore, false);
  root.unmount();
});

let asked: Asked<{ items: string[] }>;
function Question(): React.JSX.Element {
  asked = useAsked('rows', api => api.get('/rows', { offset: 0, limit: 1 }), ['runs']);
  return <p>{asked.data?.items[0] ?? asked.error?.message ?? 'none'}</p>;
}

test('a hidden screen asks nothing, and asks once when it is shown again', async () => {
  const { server, show, root } = await shown(<Question />);
  assert.equal(server.asked.length, 1);
  await show(false);
  server.rows[0] = 'new';
  await server.change();
  assert.equal(server.asked.length, 1);
  assert.equal(asked.data?.items[0], 'old 0');
  await show(true);
  assert.equal(server.asked.length, 2);
  assert.equal(asked.data.items[0], 'new');
  root.unmount();
});

test('an old answer stays while a newer one cannot be had, and a retry brings it', async () => {
  const { server, root } = await shown(<Question />);
  server.isAway = true;
  await server.change();
  assert.equal(asked.data?.items[0], 'old 0');
  assert.equal(asked.error?.message, 'the disk is full');
  server.isAway = false;
  await act(() => {
    asked.retry();
  });
  assert.equal(asked.error, null);
  root.unmount();
});

test('a list draws what is in sight, and stands where it stood after it was hidden', async () => {
  const items = Array.from({ length: 1000 }, (_, index) => `row ${String(index)}`);
  const seen: [number, number][] = [];
  const onSee = (first: number, last: number) => seen.push([first, last]);
  const list = (
    <Rows items={items} height={20} label="Rows" keyOf={item => item} render={item => <b>{item}</b>} onSee={onSee} />
  );
  const { root } = await shown(list);
  const drawn = () => root.root.findAllByType('b').length;
  assert.ok(drawn() < 50);
  const scroll = root.root.findByProps({ role: 'list' });
  const measured = () =>
    act(() => {
      observed.forEach(measure => {
        measure();
      });
    });
  await act(() => {
    place.scrollTop = 4000;
    (scroll.props as { onScroll: (event: unknown) => void }).onScroll({ currentTarget: place });
  });
  const [first, last] = seen.at(-1) ?? [0, 0];
  assert.ok(first < 200 && last > 210 && last < 250);
  // hidden by its section, a place has no height and forgets where it stood
  Object.assign(place, { clientHeight: 0, scrollTop: 0 });
  await measured();
  Object.assign(place, { clientHeight: 200 });
  await measured();
  assert.equal(place.scrollTop, 4000);
  assert.deepEqual(seen.at(-1), [first, last]);
  root.unmount();
});
