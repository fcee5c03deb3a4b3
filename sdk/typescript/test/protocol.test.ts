/** How requests are written and answers read. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InvalidRequest } from '../src/errors.js';
import { baseOf, pathOf, queryOf, textOf, textsOf } from '../src/protocol.js';

test('a page may name its own server by a path alone', () => {
  assert.equal(baseOf('/api', true), '/api/v1');
  assert.equal(baseOf('', true), '/v1');
  for (const url of ['/api?a', '/api#a', 'h:4000']) {
    assert.throws(() => baseOf(url, true), InvalidRequest, url);
  }
});

test('an id is one segment of the path, whatever is in it', () => {
  for (const id of [
    'a/b',
    'ü 😀',
    '%2F',
    '?#&',
    '...',
    '.a',
    '\\',
    "!'()*",
    '\n',
    '×'.repeat(256),
  ]) {
    const url = new URL(baseOf('http://h') + pathOf(id, '/tail'));
    const segments = url.pathname.split('/');
    assert.equal(segments.length, 5, id);
    assert.equal(decodeURIComponent(segments[3]!), id);
    assert.equal(url.search + url.hash, '');
  }
});

test('a query holds what was given, zero and false included', () => {
  assert.equal(
    queryOf({ a: 0, b: undefined, c: false, d: 'x&y=ü' }),
    '?a=0&c=false&d=x%26y%3D%C3%BC',
  );
  assert.equal(queryOf({ a: undefined }), '');
});

test('what JSON does not have is refused, with its place', () => {
  const cases: [unknown, string][] = [
    [{ message: { parts: [{ value: NaN }] } }, 'message.parts[0].value'],
    [{ a: [1, Infinity] }, 'a[1]'],
    [{ a: [undefined] }, 'a[0]'],
    [{ a: 1n }, ''],
  ];
  for (const [value, field] of cases) {
    assert.throws(
      () => textOf(value, JSON),
      (error) => error instanceof InvalidRequest && error.field === field,
    );
  }
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  assert.throws(() => textOf(circle, JSON), InvalidRequest);
  assert.equal(textOf({ a: undefined, b: null, c: -0.5 }, JSON), '{"b":null,"c":-0.5}');
});

test('the texts of messages are those of the answer, wherever braces and quotes stand', () => {
  const messages = [
    '{"seq":1,"role":"user","parts":[{"type":"text","text":"a ] } , \\" \\\\"}],"n":1180591620717411303424}',
    '{"seq": null, "parts": [[], {}, [1, [2]]] , "messages": ["inner"]}',
    '{}',
  ];
  const text = `{"version":3,"x":{"messages":[{"not":"these"}]},"y":"messages", "messages" : [ ${messages.join(' , ')} ],"fit":"whole"}`;
  assert.deepEqual(textsOf(text, 'messages'), messages);
  assert.deepEqual(textsOf('{"messages":[]}', 'messages'), []);
  assert.deepEqual(textsOf('{"version":1}', 'messages'), []);
});

test('the texts of random lists are found', () => {
  let state = 1;
  const random = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  const words = ['"', '\\', '{', '}', '[', ']', ',', ':', 'messages', ' '];
  const word = (): string =>
    Array.from({ length: random(6) }, () => words[random(words.length)]!).join('');
  const value = (depth: number): unknown => {
    const kind = random(depth > 3 ? 3 : 5);
    if (kind === 0) return random(100);
    if (kind <= 2) return word();
    const inner = Array.from({ length: random(4) }, () => value(depth + 1));
    return kind === 3 ? inner : Object.fromEntries(inner.map((one) => [word(), one]));
  };
  for (let round = 0; round < 2000; round++) {
    const list = Array.from({ length: random(4) }, () => ({ [word()]: value(0) }));
    const text = JSON.stringify({ [word()]: value(0), messages: list, last: value(0) });
    if (text.indexOf('"messages":') !== text.lastIndexOf('"messages":')) continue;
    assert.deepEqual(
      textsOf(text, 'messages'),
      list.map((one) => JSON.stringify(one)),
      text,
    );
  }
});
