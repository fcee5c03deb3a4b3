/** Server-sent events out of pieces. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { UnexpectedResponse } from '../src/errors.js';
import { EventReader } from '../src/events.js';

function read(bytes: Uint8Array, ...cuts: number[]): string[] {
  const reader = new EventReader();
  const decoder = new TextDecoder();
  const ends = [...cuts, bytes.length];
  const starts = [0, ...cuts];
  return starts.flatMap((start, at) =>
    reader.push(decoder.decode(bytes.slice(start, ends[at]), { stream: true })),
  );
}

const STREAM =
  'retry: 2000\n\n: ping\n\nid: 7\ndata: {"a":"ü😀"}\r\n\r\ndata:two\rdata\rdata: lines\r\rdata:  x\n\ndata: 3\r\ndata: 4\r\n\r\n';
const EVENTS = ['{"a":"ü😀"}', 'two\n\nlines', ' x', '3\n4'];

test('events are the same however the bytes are cut, inside of characters and line ends too', () => {
  const bytes = new TextEncoder().encode(STREAM);
  assert.deepEqual(read(bytes), EVENTS);
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second += 3) {
      assert.deepEqual(read(bytes, first, second), EVENTS, `cut at ${first} and ${second}`);
    }
  }
  const single = Array.from({ length: bytes.length - 1 }, (_, at) => at + 1);
  assert.deepEqual(read(bytes, ...single), EVENTS);
});

test('comments, other fields and empty events give nothing', () => {
  const text = ':c\n\nevent: x\n\nid: 3\n\nretry: 1\n\ndatabase: no\n\n: data: no\n\n\n\n';
  assert.deepEqual(new EventReader().push(text), []);
});

test('an event that is broken off counts for nothing', () => {
  const reader = new EventReader();
  assert.deepEqual(reader.push('data: whole\n\ndata: half\n'), ['whole']);
});

test('a byte order mark is passed over', () => {
  assert.deepEqual(read(new TextEncoder().encode('\ufeffdata: x\n\n'), 1, 2), ['x']);
});

test('an event has a limit, in one line or in many', () => {
  assert.throws(() => new EventReader(10).push('data: 0123456789'), UnexpectedResponse);
  const lines = new EventReader(10);
  assert.throws(() => {
    for (let line = 0; line < 5; line++) lines.push('data: 012\n');
  }, UnexpectedResponse);
  const small = new EventReader(10);
  for (let event = 0; event < 50; event++) assert.deepEqual(small.push('data: 012\n\n'), ['012']);
});

test('a long line costs no more than its length', () => {
  const reader = new EventReader();
  reader.push('data: ');
  for (let piece = 0; piece < 20_000; piece++) reader.push('x'.repeat(100));
  assert.deepEqual(
    reader.push('\n\n').map((text) => text.length),
    [2_000_000],
  );
});
