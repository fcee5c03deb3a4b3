/** Streams against a server that says what it is told, and against a real node. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { startedNode, said } from './node.js';

type Told = (response: ServerResponse) => void;

/** Answer each request by the next of *told*; give a client, and the paths that it asked for. */
async function scripted(
  test: TestContext,
  ...told: Told[]
): Promise<{ one: fastpaca.Context; paths: string[] }> {
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url!);
    const tell = told.shift();
    if (tell === undefined) response.destroy();
    else tell(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const sleep = async (_: number, signal?: AbortSignal): Promise<void> => {
    signal?.throwIfAborted();
  };
  const client = fastpaca.createClient({
    baseUrl: `http://127.0.0.1:${port}`,
    platform: { sleep },
  });
  return { one: await client.context('demo'), paths };
}

const refused =
  (status: number, error: string, headers = {}): Told =>
  (response) =>
    response.writeHead(status, headers).end(JSON.stringify({ error, message: 'No.' }));

/** Send frames, and then break the connection, end the body, or go on without a word. */
const frames =
  (list: object[], then: 'break' | 'end' | 'hold'): Told =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(
      ['retry: 2000\n\n', ...list.map((one) => `data: ${JSON.stringify(one)}\n\n`)].join(''),
      () => {
        if (then === 'break') response.destroy();
        if (then === 'end') response.end();
      },
    );
  };

const message = (version: number, cursor = version): object => ({
  type: 'message',
  version,
  seq: version,
  message: {},
  cursor,
});
const context = (version: number): object => ({
  type: 'context',
  version,
  needs_compaction: false,
  used_tokens: version,
  token_budget: 9,
  cursor: version,
});
const tombstoned = (version: number): object => ({ type: 'tombstoned', version, cursor: version });
const gone: Told = (response) => response.writeHead(204).end();

async function names(frames: AsyncIterable<fastpaca.Frame>): Promise<string[]> {
  const found: string[] = [];
  for await (const frame of frames)
    found.push(`${frame.type} ${'version' in frame ? frame.version : frame.actual}`);
  return found;
}

const EVENTS = '/v1/contexts/demo/events?cursor=';

test('a stream goes on behind its cursor, over breaks between any two frames', async (t) => {
  const { one, paths } = await scripted(
    t,
    frames([message(1)], 'break'),
    frames([message(2, 1)], 'end'),
    frames([message(2), message(3, 2), context(3)], 'break'),
    frames([context(3), message(4), tombstoned(4)], 'hold'),
  );
  assert.deepEqual(await names(one.stream({ cursor: 0 })), [
    'message 1',
    'message 2',
    'message 3',
    'context 3',
    'message 4',
    'tombstoned 4',
  ]);
  assert.deepEqual(paths, [`${EVENTS}0`, `${EVENTS}1`, `${EVENTS}1`, `${EVENTS}3`]);
});

test('a stream from now begins at the version of now', async (t) => {
  const info: Told = (response) => response.end(JSON.stringify({ version: 7 }));
  const { one, paths } = await scripted(
    t,
    info,
    (response) => response.destroy(),
    frames([message(8), tombstoned(8)], 'end'),
  );
  assert.deepEqual(await names(one.stream({ includeMessages: false })), [
    'message 8',
    'tombstoned 8',
  ]);
  const asked = `${EVENTS}7&include_messages=false`;
  assert.deepEqual(paths, ['/v1/contexts/demo', asked, asked]);
});

test('a stream that has nothing more to say ends', async (t) => {
  const { one } = await scripted(t, gone);
  assert.deepEqual(await names(one.stream({ cursor: 3 })), []);
});

test('a deletion while the connection is down is told of, once the stream had begun', async (t) => {
  const { one } = await scripted(
    t,
    frames([message(1), context(1)], 'break'),
    gone,
    (response) => response.destroy(),
    gone,
  );
  const told: fastpaca.Frame[] = [];
  for await (const frame of one.stream({ cursor: 0 })) told.push(frame);
  assert.deepEqual(told.at(-1), { type: 'tombstoned', version: 1, cursor: 1 });
  assert.equal(told.length, 3);
  assert.deepEqual(await names(one.stream({ cursor: 1 })), []);
});

for (const [status, code, type] of [
  [404, 'not_found', fastpaca.ContextNotFound],
  [400, 'invalid_request', fastpaca.InvalidRequest],
  [401, 'unauthorized', fastpaca.Unauthorized],
] as const) {
  test(`an answer of ${status} ends a stream with its error, also after a break`, async (t) => {
    const { one } = await scripted(
      t,
      refused(status, code),
      frames([message(1)], 'break'),
      refused(status, code),
    );
    await assert.rejects(names(one.stream({ cursor: 0 })), type);
    await assert.rejects(names(one.stream({ cursor: 0 })), type);
  });
}

test('what is no stream of frames is said to be none', async (t) => {
  const events =
    (data: string): Told =>
    (response) =>
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${data}\n\n`);
  const page: Told = (response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
  const { one } = await scripted(
    t,
    page,
    events('no JSON'),
    events('null'),
    events('{"type":"message"}'),
  );
  for (let count = 0; count < 4; count++) {
    await assert.rejects(names(one.stream({ cursor: 0 })), fastpaca.UnexpectedResponse);
  }
});

test('a connection that is silent for too long is given up; a comment is a sign of life', async (t) => {
  let comments = 0;
  const silent: Told = (response) => {
    frames([message(1)], 'hold')(response);
    const timer = setInterval(() => {
      comments += 1;
      if (comments < 5) response.write(': ping\n\n');
      else clearInterval(timer);
    }, 40);
  };
  const { one, paths } = await scripted(t, silent, frames([tombstoned(1)], 'end'));
  assert.deepEqual(await names(one.stream({ cursor: 0, timeouts: { streamMs: 400 } })), [
    'message 1',
    'tombstoned 1',
  ]);
  assert.ok(comments >= 5);
  assert.equal(paths.length, 2);
});

test('a signal ends a stream with its reason, whatever it waits for', async (t) => {
  const reason = new Error('enough');
  const hold = frames([message(1)], 'hold');
  const { one, paths } = await scripted(t, hold, () => {}, hold);

  const early = one.stream({ cursor: 0, signal: AbortSignal.abort(reason) });
  await assert.rejects(early.next(), reason);
  assert.equal(paths.length, 0);

  for (const taken of [1, 0]) {
    const controller = new AbortController();
    const stream = one.stream({ cursor: 0, signal: controller.signal });
    for (let count = 0; count < taken; count++) await stream.next();
    const pending = stream.next();
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(pending, reason);
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  }

  const controller = new AbortController();
  const stream = one.stream({ cursor: 0, signal: controller.signal });
  await stream.next();
  controller.abort(reason);
  await assert.rejects(stream.next(), reason);
});

test('return() ends a stream at once, also while a frame is waited for, and closes its connection', async (t) => {
  const closed: Promise<unknown>[] = [];
  const hold: Told = (response) => {
    closed.push(once(response, 'close'));
    frames([message(1)], 'hold')(response);
  };
  const { one } = await scripted(t, hold, hold);
  const stream = one.stream({ cursor: 0 });
  assert.equal((await stream.next()).done, false);
  const pending = stream.next();
  await stream.return();
  assert.deepEqual(await pending, { done: true, value: undefined });
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  for await (const frame of one.stream({ cursor: 0 })) {
    assert.equal(frame.type, 'message');
    break;
  }
  assert.equal(closed.length, 2);
  await Promise.all(closed);
});

test('a connection is closed at the end, and when it turns out to be no stream', async (t) => {
  const closed: Promise<unknown>[] = [];
  const kept =
    (tell: Told): Told =>
    (response) => {
      closed.push(once(response, 'close'));
      tell(response);
    };
  const page: Told = (response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.write('<html>');
  };
  const { one } = await scripted(t, kept(frames([tombstoned(1)], 'hold')), kept(page));
  assert.deepEqual(await names(one.stream({ cursor: 0 })), ['tombstoned 1']);
  await assert.rejects(names(one.stream({ cursor: 0 })), fastpaca.UnexpectedResponse);
  assert.equal(closed.length, 2);
  await Promise.all(closed);
});

test('frames of a real node tell a conversation from its beginning to its end', async (t) => {
  const node = await startedNode(t);
  const one = await fastpaca
    .createClient({ baseUrl: node.address })
    .context('demo', { budget: 30, trigger: 1 });
  await one.append([said('One'), said('Two')]);
  const stream = one.stream({ cursor: 0 });
  const next = async (): Promise<fastpaca.Frame> => (await stream.next()).value as fastpaca.Frame;
  const first = await next();
  assert.ok(first.type === 'message' && first.message.parts[0]?.['text'] === 'One');
  assert.deepEqual([(await next()).type, (await next()).type], ['message', 'context']);
  await one.compact([said('Both')]);
  const compacted = await next();
  assert.ok(
    compacted.type === 'compaction' && compacted.strategy === 'manual' && compacted.version === 3,
  );
  assert.equal((await next()).type, 'context');
  await one.delete();
  assert.equal((await next()).type, 'tombstoned');
  assert.equal((await next()) ?? 'the end', 'the end');
  assert.deepEqual(await names(one.stream({ cursor: 3 })), []);
});

test('a cursor above the version of a real node is reset', async (t) => {
  const node = await startedNode(t);
  const one = await fastpaca
    .createClient({ baseUrl: node.address })
    .context('demo', { budget: 30 });
  const stream = one.stream({ cursor: 9 });
  assert.deepEqual((await stream.next()).value, { type: 'reset', version: 0, cursor: 0 });
  await stream.return();
});
