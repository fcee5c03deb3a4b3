/** What a refused call throws. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { refusal, Script } from './scripted.js';

const CASES: [number, string, new (message: string) => fastpaca.FastpacaError][] = [
  [400, 'invalid_request', fastpaca.InvalidRequest],
  [401, 'unauthorized', fastpaca.Unauthorized],
  [403, 'forbidden', fastpaca.Forbidden],
  [404, 'not_found', fastpaca.ContextNotFound],
  [405, 'method_not_allowed', fastpaca.MethodNotAllowed],
  [408, 'request_timeout', fastpaca.RequestTimeout],
  [409, 'conflict', fastpaca.VersionConflict],
  [409, 'tombstoned', fastpaca.Tombstoned],
  [409, 'purged', fastpaca.Purged],
  [409, 'idempotency_conflict', fastpaca.IdempotencyConflict],
  [413, 'payload_too_large', fastpaca.PayloadTooLarge],
  [415, 'unsupported_media_type', fastpaca.UnsupportedMediaType],
  [429, 'rate_limited', fastpaca.RateLimited],
  [431, 'headers_too_large', fastpaca.HeadersTooLarge],
  [500, 'internal_error', fastpaca.InternalError],
  [503, 'unavailable', fastpaca.Unavailable],
  [503, 'outcome_unknown', fastpaca.OutcomeUnknown],
];

async function thrown(script: Script, options = {}): Promise<fastpaca.FastpacaError> {
  const context = await script.client({ triesMax: 1, ...options }).context('demo');
  const error: unknown = await context.info().catch((error: unknown) => error);
  assert.ok(error instanceof fastpaca.FastpacaError, String(error));
  return error;
}

for (const [status, code, type] of CASES) {
  test(`${status} ${code} is a ${type.name}`, async () => {
    const error = await thrown(new Script(refusal(status, code)));
    assert.ok(error instanceof type);
    assert.ok(error instanceof Error);
    assert.equal(error.name, type.name);
    assert.equal(Object.getPrototypeOf(error), type.prototype);
    assert.equal(error.code, code);
    assert.equal(error.status, status);
    assert.equal(error.message, `It is ${code}.`);
  });
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

test('a conflict says which version was expected and which was found', async () => {
  const error = await thrown(new Script(refusal(409, 'conflict', { expected: 83, found: 84 })));
  assert.ok(error instanceof fastpaca.VersionConflict);
  assert.deepEqual([error.expected, error.found], [83, 84]);
});

test('an error names the field, the request and all else that was answered', async () => {
  const body = {
    error: 'invalid_request',
    message: 'No.',
    field: 'message.role',
    nearest: 'role',
  };
  const headers = { 'x-request-id': 'r-1' };
  const error = await thrown(new Script({ status: 400, headers, body }));
  assert.equal(error.field, 'message.role');
  assert.equal(error.requestId, 'r-1');
  assert.deepEqual(error.details, { nearest: 'role' });
});

test('a code that is not known has the base class, with all that was answered', async () => {
  for (const code of ['of_tomorrow', 'constructor', '__proto__']) {
    const error = await thrown(new Script(refusal(418, code, { why: 'tea' })));
    assert.equal(Object.getPrototypeOf(error), fastpaca.FastpacaError.prototype);
    assert.equal(error.code, code);
    assert.equal(error.status, 418);
    assert.deepEqual(error.details, { why: 'tea' });
  }
});

test('what is no answer of a node is said to be none', async () => {
  const steps = [
    { status: 502, body: '<html>Bad Gateway</html>' },
    { status: 404, body: { detail: 'of another service' } },
    { status: 302, headers: { location: '/login' }, body: '' },
    { status: 200, body: '<html>Welcome</html>' },
    { status: 200, body: 'null' },
  ];
  for (const step of steps) {
    const error = await thrown(new Script(step));
    assert.ok(error instanceof fastpaca.UnexpectedAnswer, String(error));
    assert.equal(error.code, 'unexpected_answer');
    assert.equal(error.status, step.status);
  }
});

test('no answer at all is a ConnectionFailed with its cause, and with the key of a write', async () => {
  const cause = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') });
  const context = await new Script(cause).client({ triesMax: 1 }).context('demo');
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
    const context = await new Script(step).client({ triesMax: 1 }).context('demo');
    await assert.rejects(context.append({ role: 'user', parts: [] }), {
      idempotencyKey: 'key-1',
    });
  }
});

test('no answer in time is a TimedOut', async () => {
  const error = await thrown(new Script('silence'), { timeoutMs: 5 });
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
  await assert.rejects(context.append({ role: 'user', parts: [] }), fastpaca.UnexpectedAnswer);
  assert.deepEqual(asked, ['POST']);
});
