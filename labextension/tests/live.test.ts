import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { AnyModel } from '@anywidget/types';
import { liveWidget } from '../widgets/live';

test('a widget asks until the kernel answers, and again when it missed something', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const sent: unknown[] = [];
    let hear: (message: unknown) => void = () => undefined;
    const model = {
      send: (message: unknown) => sent.push(message),
      on: (_: string, callback: (message: unknown) => void) => {
        hear = callback;
      }
    } as unknown as AnyModel;
    const widget = liveWidget(
      message => message as boolean | null,
      '',
      () => null
    );
    assert.ok(typeof widget === 'object');
    const leave = await widget.initialize?.({ model, experimental: {} as never });
    assert.equal(sent.length, 1);
    mock.timers.tick(1000);
    assert.equal(sent.length, 2);
    mock.timers.tick(1999);
    assert.equal(sent.length, 2);
    hear(null);
    mock.timers.tick(1);
    assert.equal(sent.length, 3);
    hear(true);
    mock.timers.tick(60_000);
    assert.equal(sent.length, 3);
    hear(false);
    hear(false);
    assert.equal(sent.length, 4);
    (leave as () => void)();
    mock.timers.tick(60_000);
    assert.equal(sent.length, 4);
  } finally {
    mock.timers.reset();
  }
});
