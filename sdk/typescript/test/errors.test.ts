/** What a refused call throws. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { refusal, Script } from './scripted.js';

async function thrown(script: Script, options = {}): Promise<fastpaca.FastpacaError> {
  const context = await script.client({ retries: { attemptsMax: 1 }, ...options }).context('demo');
  const error: unknown = await context.info().catch((error: unknown) => error);
  assert.ok(error instanceof fastpaca.FastpacaError, String(error));
  return error;
}

test('an error is an instance of no class but its own and those above', async () => {
  const error = await thrown(new Script(refusal(409, 'tombstoned')));
  assert.ok(!(error instanceof fastpaca.Purged));
  assert.ok(!(new Error('another') instanceof fastpaca.FastpacaError));
  assert.ok(!((null as unknown) instanceof fastpaca.FastpacaError));
  class Mine extends fastpaca.Tombstoned {}
  assert.ok(!(error instanceof Mine));
  assert.ok(new Mine('mine') instanceof Mine);
  assert.ok(new Mine('mine') instanceof fastpaca.Tombstoned);
});

test('no answer at all is a ConnectionFailed with its cause, and with the key of a write', async () => {
  const cause = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') });
  const context = await new Script(cause).client({ retries: { attemptsMax: 1 } }).context('demo');
  await assert.rejects(context.append({ role: 'user', parts: [] }), (error) => {
    assert.ok(error instanceof fastpaca.ConnectionFailed);
    assert.equal(error.cause, cause);
    assert.equal(error.idempotencyKey, 'key-1');
    assert.match(error.message, /ECONNREFUSED/);
    return true;
  });
});

test('every error of a write has its key', async () => {
  const steps = [
    refusal(409, 'tombstoned'),
    { status: 502, body: '' },
    { status: 201, body: 'ok' },
  ];
  for (const step of steps) {
    const context = await new Script(step).client({ retries: { attemptsMax: 1 } }).context('demo');
    await assert.rejects(context.append({ role: 'user', parts: [] }), {
      idempotencyKey: 'key-1',
    });
  }
});

test('no answer in time is a TimedOut', async () => {
  const error = await thrown(new Script('silence'), { timeouts: { readMs: 5 } });
  assert.ok(error instanceof fastpaca.TimedOut);
  assert.ok(error instanceof fastpaca.ConnectionFailed);
});

test('a redirect is not followed: a POST would arrive as a GET', async (t) => {
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.method);
    response.writeHead(302, { location: '/elsewhere' }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const client = fastpaca.createClient({ baseUrl: `http://127.0.0.1:${port}` });
  const context = await client.context('demo');
  await assert.rejects(context.append({ role: 'user', parts: [] }), fastpaca.UnexpectedResponse);
  assert.deepEqual(asked, ['POST']);
});
