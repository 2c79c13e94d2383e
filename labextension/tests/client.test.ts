import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Api, ApiError, path, queryText, type Answer, type Transport } from '../src/api/client';
import type { Changed, Missed } from '../src/api/types';

/** A server of which a test says what it answers, and when it speaks. */
class Scripted implements Transport {
  asked: string[] = [];
  missed: Missed = { boot: 'a', seq: 4, reset: true, topics: [] };
  isAway = false;
  isSilent = false;
  waiting: AbortSignal[] = [];
  hear: (changed: Changed) => void = () => undefined;
  isHeard = false;

  request(method: string, at: string, _query: unknown, _body: unknown, signal?: AbortSignal): Promise<Answer> {
    this.asked.push(`${method} ${at}`);
    if (this.isSilent) {
      this.waiting.push(...(signal ? [signal] : []));
      return new Promise(() => undefined);
    }
    if (this.isAway) {
      return Promise.reject(new Error('gone'));
    }
    if (at === '/changes') {
      return Promise.resolve({ status: 200, body: this.missed });
    }
    const problem = { title: 'There is nothing of that name', detail: 'there is no group x' };
    return Promise.resolve(at === '/x' ? { status: 404, body: problem } : { status: 200, body: { at } });
  }

  listen(hear: (changed: Changed) => void): () => void {
    this.hear = hear;
    this.isHeard = true;
    return () => {
      this.isHeard = false;
    };
  }
}

const settled = () => new Promise(resolve => setTimeout(resolve, 5));

async function listening(
  topics: string[]
): Promise<{ server: Scripted; api: Api; told: () => number; leave: () => void }> {
  const server = new Scripted();
  const api = new Api(server);
  let count = 0;
  const leave = api.onChange(topics, () => {
    count += 1;
  });
  await settled();
  return { server, api, told: () => count, leave };
}

test('a listener hears of its topics alone', async () => {
  const { server, told, leave } = await listening(['runs']);
  assert.equal(told(), 0);
  server.hear({ boot: 'a', seq: 5, topics: ['features'] });
  server.hear({ boot: 'a', seq: 6, topics: ['runs', 'run/1'] });
  assert.equal(told(), 1);
  // what was heard already says nothing new
  server.hear({ boot: 'a', seq: 6, topics: ['runs'] });
  assert.equal(told(), 1);
  leave();
  assert.equal(server.isHeard, false);
});

test('what was missed is asked for', async () => {
  const { server, told, leave } = await listening(['runs']);
  server.missed = { boot: 'a', seq: 9, reset: false, topics: ['models', 'runs'] };
  server.hear({ boot: 'a', seq: 9, topics: ['models'] });
  await settled();
  assert.equal(told(), 1);
  leave();
});

test('a gap that is noticed while what was missed is on its way is asked for too', async () => {
  const { server, told, leave } = await listening(['models']);
  const before = server.asked.length;
  server.missed = { boot: 'a', seq: 9, reset: false, topics: ['runs'] };
  server.hear({ boot: 'a', seq: 9, topics: ['runs'] });
  // the answer is made, and has not come yet
  server.hear({ boot: 'a', seq: 12, topics: ['runs'] });
  server.missed = { boot: 'a', seq: 12, reset: false, topics: ['models', 'runs'] };
  await settled();
  assert.equal(server.asked.length, before + 2);
  assert.equal(told(), 1);
  leave();
});

test('a page that comes to the front asks at once for what it missed', async () => {
  const page = Object.assign(new EventTarget(), { hidden: true });
  Object.assign(globalThis, { document: page });
  try {
    const { server, told, leave } = await listening(['runs']);
    const before = server.asked.length;
    page.dispatchEvent(new Event('visibilitychange'));
    await settled();
    assert.equal(server.asked.length, before);
    server.missed = { boot: 'a', seq: 9, reset: false, topics: ['runs'] };
    page.hidden = false;
    page.dispatchEvent(new Event('visibilitychange'));
    await settled();
    assert.equal(told(), 1);
    leave();
    page.dispatchEvent(new Event('visibilitychange'));
    await settled();
    assert.equal(server.asked.length, before + 1);
  } finally {
    Reflect.deleteProperty(globalThis, 'document');
  }
});

test('a server that began anew makes everything be asked again', async () => {
  const { server, told, leave } = await listening(['cluster']);
  server.missed = { boot: 'b', seq: 1, reset: true, topics: [] };
  server.hear({ boot: 'b', seq: 1, topics: ['features'] });
  await settled();
  assert.equal(told(), 1);
  leave();
});

test('a connection that is lost is told, and told again when it is back', async () => {
  const { server, api, leave } = await listening(['runs']);
  const states: boolean[] = [];
  api.onConnection(isLive => states.push(isLive));
  server.isAway = true;
  await assert.rejects(api.get('/groups'), { status: 0 });
  server.isAway = false;
  server.hear({ boot: 'a', seq: 7, topics: ['runs'] });
  await settled();
  assert.deepEqual(states, [false, true]);
  leave();
});

test('a server that hangs is taken for one that does not answer, and is asked again', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  try {
    const server = new Scripted();
    const api = new Api(server);
    const said: boolean[] = [];
    api.onConnection(isLive => {
      said.push(isLive);
    });
    server.isSilent = true;
    const live = api.getPromptly('/runs/1/live');
    const leave = api.onChange(['runs'], () => undefined);
    mock.timers.tick(19_999);
    assert.deepEqual(said, []);
    mock.timers.tick(1);
    await assert.rejects(live, (error: ApiError) => error.status === 0 && error.message.includes('silent'));
    assert.deepEqual(said, [false]);
    assert.equal(server.waiting.filter(each => each.aborted).length, 2);
    server.isSilent = false;
    await Promise.resolve();
    mock.timers.tick(2_000);
    while (said.length < 2) {
      await Promise.resolve();
    }
    assert.deepEqual(said, [false, true]);
    leave();
  } finally {
    mock.timers.reset();
  }
});

test('problems are errors with their sentence', async () => {
  const { api, leave } = await listening(['runs']);
  await assert.rejects(
    api.get('/x'),
    (error: ApiError) => error.status === 404 && error.message === 'there is no group x'
  );
  leave();
});

test('parts of addresses are quoted, lists repeat, empty values are left out', () => {
  assert.equal(path`/groups/${'a/b c'}/diff`, '/groups/a%2Fb%20c/diff');
  assert.equal(queryText({ names: ['a', 'b&c'], text: '', limit: 3, sort: null }), 'names=a&names=b%26c&limit=3');
});
