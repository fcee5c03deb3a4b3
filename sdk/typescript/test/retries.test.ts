/** Which requests are sent again, when, and with what. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';

import { TimedOut, createClient } from '../src/index.js';
import { APPENDED, refusal, Script, type Step } from './scripted.js';

const MESSAGE = { role: 'user', parts: [{ type: 'text', text: 'Hi' }] };
const INFO = { status: 200, body: { id: 'demo', version: 0 } };
const BROKEN = new TypeError('fetch failed');

const TEMPORARY: Step[] = [
  BROKEN,
  refusal(408, 'request_timeout'),
  refusal(429, 'rate_limited'),
  refusal(503, 'unavailable'),
  refusal(503, 'outcome_unknown'),
  { status: 502, body: '<html>' },
  { status: 504, body: '' },
];

for (const step of TEMPORARY) {
  const name = step instanceof Error ? 'a broken connection' : JSON.stringify(step);
  test(`an append is sent again, the same with the same key, after ${name}`, async () => {
    const script = new Script(step, step, APPENDED);
    const context = await script.client().context('demo');
    assert.equal((await context.append(MESSAGE)).version, 1);
    assert.equal(script.asked.length, 3);
    assert.equal(script.asked[0]!.headers['Idempotency-Key'], 'key-1');
    assert.deepEqual(script.asked[1], script.asked[0]);
    assert.deepEqual(script.asked[2], script.asked[0]);
  });
}

test('every call is sent again', async () => {
  const script = new Script(
    ...[
      INFO,
      INFO,
      { status: 204 },
      { status: 200, body: { messages: [] } },
      { status: 200, body: { version: 1 } },
      { status: 200, body: { contexts: [], next: null } },
    ].flatMap((answer) => [BROKEN, answer]),
  );
  const client = script.client();
  const context = await client.context('demo', { budget: 5 });
  await context.patchMetadata({ a: 1 });
  await client.deleteContext('demo');
  await context.getTail();
  await context.compact([]);
  for await (const found of client.listContexts()) assert.fail(JSON.stringify(found));
  const methods = script.asked.map(({ method }) => method);
  assert.deepEqual(methods, [
    'PUT',
    'PUT',
    'PATCH',
    'PATCH',
    'DELETE',
    'DELETE',
    'GET',
    'GET',
    'POST',
    'POST',
    'GET',
    'GET',
  ]);
  const keys = script.asked.map(({ headers }) => headers['Idempotency-Key']);
  assert.deepEqual(
    keys.filter((key) => key !== undefined),
    ['key-1', 'key-1'],
  );
});

test('each write has a key of its own, or that of the caller', async () => {
  const script = new Script(APPENDED, APPENDED, APPENDED, { status: 200, body: { version: 2 } });
  const context = await script.client().context('demo');
  await context.append(MESSAGE);
  await context.append(MESSAGE);
  await context.append(MESSAGE, { idempotencyKey: 'mine' });
  await context.compact([], { idempotencyKey: 'mine too' });
  const keys = script.asked.map(({ headers }) => headers['Idempotency-Key']);
  assert.deepEqual(keys, ['key-1', 'key-2', 'mine', 'mine too']);
  assert.equal(script.asked.length, 4);
});

test('keys that are made up are not made twice', async () => {
  const made = new Set<string>();
  const script = new Script(...Array.from({ length: 200 }, () => APPENDED));
  const {
    platform: { key: _, ...platform },
  } = script;
  const context = await script.client({ platform }).context('demo');
  for (let count = 0; count < 200; count++) await context.append(MESSAGE);
  for (const { headers } of script.asked) {
    assert.match(headers['Idempotency-Key']!, /^[0-9a-f]{32}$/);
    made.add(headers['Idempotency-Key']!);
  }
  assert.equal(made.size, 200);
});

test('a try that takes too long is given up, and another is made', async () => {
  const script = new Script('silence', INFO);
  const context = await script.client({ timeouts: { readMs: 5 } }).context('demo');
  assert.equal((await context.info()).id, 'demo');
  assert.equal(script.asked.length, 2);
});

test('a try lasts no longer than the deadline', async () => {
  const script = new Script('silence');
  const context = await script.client({ retries: { attemptsMax: 1 } }).context('demo');
  await assert.rejects(context.info({ timeouts: { totalMs: 5 } }), TimedOut);
});

test('a signal ends a call with its reason: before it, while it is under way, and in a wait', async () => {
  const reason = new Error('enough');
  const before = new Script(INFO);
  const context = await before.client().context('demo');
  await assert.rejects(context.info({ signal: AbortSignal.abort(reason) }), reason);
  assert.equal(before.asked.length, 0);

  const during = new AbortController();
  const waiting = (
    await new Script('silence').client({ retries: { attemptsMax: 1 } }).context('demo')
  ).info({
    signal: during.signal,
  });
  during.abort(reason);
  await assert.rejects(waiting, reason);

  const pausing = new AbortController();
  const script = new Script(BROKEN, INFO);
  const {
    platform: { sleep: _, ...platform },
  } = script;
  script.random = 1;
  const paused = (await script.client({ platform }).context('demo')).info({
    signal: pausing.signal,
  });
  setTimeout(() => pausing.abort(reason), 5);
  await assert.rejects(paused, reason);
  assert.equal(script.asked.length, 1);
});

test('a signal that outlives its calls keeps nothing of them', async () => {
  const signal = new AbortController().signal;
  const counted = { added: 0, removed: 0 };
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  signal.addEventListener = (...args: unknown[]) => {
    counted.added += 1;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    counted.removed += 1;
    Reflect.apply(removeEventListener, signal, args);
  };
  const script = new Script(BROKEN, INFO, refusal(404, 'not_found'));
  const {
    platform: { sleep: _, ...platform },
  } = script;
  const context = await script.client({ platform }).context('demo');
  await context.info({ signal });
  await assert.rejects(context.info({ signal }));
  assert.ok(counted.added >= 3);
  assert.equal(counted.removed, counted.added);
});

test('bodies of errors are read to their end, so that connections are used again', async () => {
  const script = new Script(refusal(503, 'unavailable'), { status: 502, body: '<html>' }, INFO);
  await (await script.client().context('demo')).info();
  assert.deepEqual(
    script.answers.map((answer) => answer.bodyUsed),
    [true, true, true],
  );
});

test('the key of the API and headers of the caller are sent with every request', async () => {
  const script = new Script(INFO, APPENDED);
  const context = await script
    .client({ apiKey: 'secret', headers: { 'X-Tenant': 't' } })
    .context('demo');
  await context.info();
  await context.append(MESSAGE);
  for (const { headers } of script.asked) {
    assert.equal(headers['Authorization'], 'Bearer secret');
    assert.equal(headers['X-Tenant'], 't');
  }
});

/** A node whose answer has come up to its last byte, piece by piece, or stays where it is. */
async function dripping(test: TestContext, pieces: number): Promise<string> {
  const text = JSON.stringify(INFO.body);
  const server = createServer((_, response) => {
    let sent = 0;
    const timer = setInterval(() => {
      if (sent < pieces) response.write(text[sent++] ?? ' ');
      else clearInterval(timer);
      if (sent === pieces && pieces >= text.length) response.end();
    }, 30);
    response.on('close', () => clearInterval(timer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('an answer may take long as long as its pieces keep coming', async (t) => {
  const baseUrl = await dripping(t, 50);
  const timeouts = { readMs: 1000 };
  const client = createClient({ baseUrl, timeouts, retries: { attemptsMax: 1 } });
  assert.deepEqual(await (await client.context('demo')).info(), INFO.body);
});

test('an answer that stops in the middle is given up', async (t) => {
  const baseUrl = await dripping(t, 5);
  const timeouts = { readMs: 300 };
  const client = createClient({ baseUrl, timeouts, retries: { attemptsMax: 1 } });
  await assert.rejects((await client.context('demo')).info(), TimedOut);
});

test('an answer takes no longer than its call, however steadily it comes', async (t) => {
  const baseUrl = await dripping(t, 1_000_000);
  const timeouts = { readMs: 10_000, totalMs: 300 };
  const client = createClient({ baseUrl, timeouts, retries: { attemptsMax: 1 } });
  await assert.rejects((await client.context('demo')).info(), TimedOut);
});
