import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spans } from '../src/ansi';

const shown = (text: string) => spans([['stdout', text]]);

test('colours become classes', () => {
  assert.deepEqual(shown('a\x1b[1;31mb\x1b[0mc'), [
    { text: 'a', className: '' },
    { text: 'b', className: 'hops-bold hops-ansi-red' },
    { text: 'c', className: '' }
  ]);
  assert.deepEqual(shown('\x1b[38;5;31mx\x1b[39m'), [{ text: 'x', className: '' }]);
});

test('a progress bar shows its last state', () => {
  assert.deepEqual(shown('1/3 [..]\r2/3 [=.]\r3/3\nnext'), [{ text: '3/3 [=.]\nnext', className: '' }]);
});

test('escapes that are no colours, and control characters, vanish', () => {
  assert.equal(
    shown('\x1b]0;title\x07\x1b[2Ka\x00\x7f\x1b[5')
      .map(span => span.text)
      .join(''),
    'a[5'
  );
});

test('stderr is marked', () => {
  assert.equal(spans([['stderr', 'no']])[0]?.className, 'hops-stderr');
});
