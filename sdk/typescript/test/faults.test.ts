/** A real node behind a network that breaks, and a node that is killed: each change once. */

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { said, startedNode } from './node.js';
import { startedProxy } from './proxy.js';

/** Waits are short: what is tested here is not how long they are. */
const platform: Partial<fastpaca.Platform> = {
  sleep: (ms, signal) => pause(Math.min(ms, 10), undefined, signal ? { signal } : {}),
};

async function textsOf(one: fastpaca.Context): Promise<unknown[]> {
  const texts: unknown[] = [];
  for await (const message of one.messages()) texts.push(message.parts[0]!['text']);
  return texts;
}

/** Take frames until the tombstone; give what they tell, and check their order. */
async function told(
  stream: AsyncIterable<fastpaca.Frame>,
): Promise<{ texts: unknown[]; compactions: number[] }> {
  const texts: unknown[] = [];
  const compactions: number[] = [];
  let version = 0;
  for await (const frame of stream) {
    assert.ok(frame.type !== 'gap' && frame.type !== 'reset', frame.type);
    assert.ok(frame.version >= version, 'versions never fall');
    version = frame.version;
    if (frame.type === 'message') texts.push(frame.message.parts[0]!['text']);
    if (frame.type === 'compaction') compactions.push(frame.version);
  }
  return { texts, compactions };
}

test('appends over connections that break anywhere happen once, in order', async (t) => {
  const node = await startedNode(t);
  // Breaks lie everywhere in requests and answers, of the first request of a connection and later.
  const proxy = await startedProxy(t, node.port, (connection) =>
    connection % 2 ? { sent: (connection * 37) % 900 } : { received: (connection * 53) % 700 },
  );
  const client = fastpaca.createClient({
    baseUrl: proxy.address,
    platform,
    retries: { attemptsMax: Infinity },
  });
  const one = await client.context('demo', { budget: 100_000 });
  const texts = Array.from({ length: 60 }, (_, at) => `m${at}`);
  for (const [at, text] of texts.entries()) {
    assert.equal((await one.append(said(text))).seq, at + 1);
    assert.ok((await one.context()).version === at + 1);
  }
  const direct = await fastpaca.createClient({ baseUrl: node.address }).context('demo');
  assert.deepEqual(await textsOf(direct), texts);
  assert.ok(proxy.breaks > 30, `${proxy.breaks} breaks`);
});

test('a stream over connections that break anywhere tells each change once, in order', async (t) => {
  const node = await startedNode(t);
  const proxy = await startedProxy(t, node.port, (connection) => ({
    received: 200 + ((connection * 211) % 1500),
  }));
  const writer = await fastpaca
    .createClient({ baseUrl: node.address })
    .context('demo', { budget: 200, trigger: 0.5 });
  const reader = await fastpaca
    .createClient({ baseUrl: proxy.address, platform, retries: { attemptsMax: Infinity } })
    .context('demo');
  const following = told(reader.stream({ cursor: 0 }));
  const texts = Array.from({ length: 120 }, (_, at) => `m${at} ${'x'.repeat((at * 7) % 50)}`);
  for (const text of texts) await writer.append(said(text));
  await writer.compact([said('Summary')]);
  await writer.delete();
  const found = await following;
  assert.deepEqual(found.texts, texts);
  const compactions: number[] = [];
  for await (const { version } of writer.compactions()) compactions.push(version);
  assert.ok(compactions.length > 3);
  assert.deepEqual(found.compactions, compactions);
  assert.ok(proxy.breaks > 10, `${proxy.breaks} breaks`);
});

test('nothing is lost and nothing doubled when the node is killed again and again', async (t) => {
  const node = await startedNode(t);
  const proxy = await startedProxy(t, node.port);
  const client = fastpaca.createClient({
    baseUrl: proxy.address,
    platform,
    retries: { attemptsMax: Infinity },
    timeouts: { totalMs: Infinity },
  });
  const one = await client.context('demo', { budget: 100_000 });
  const following = told(one.stream({ cursor: 0 }));
  const acknowledged = new Map<number, string>();
  const write = async (writer: number): Promise<void> => {
    for (let count = 0; count < 50; count++) {
      const text = `${writer} ${count}`;
      const { seq } = await one.append(said(text));
      assert.ok(!acknowledged.has(seq), `seq ${seq} was acknowledged twice`);
      acknowledged.set(seq, text);
    }
  };
  const writers = Promise.all([1, 2, 3, 4].map(write));
  for (const count of [20, 90, 150]) {
    while (acknowledged.size < count) await pause(1);
    await node.kill();
    proxy.breakAll();
    await node.start();
    proxy.target = node.port;
  }
  await writers;
  await one.delete();
  const log = await textsOf(one);
  assert.equal(log.length, 200);
  assert.deepEqual(
    log,
    Array.from({ length: 200 }, (_, at) => acknowledged.get(at + 1)),
  );
  assert.deepEqual((await following).texts, log);
});

test('more than a node lets in gets there all the same, and once', async (t) => {
  const node = await startedNode(t, '--rate-limit', '20/second');
  const client = fastpaca.createClient({ baseUrl: node.address });
  const one = await client.context('demo', { budget: 100_000 });
  const texts = Array.from({ length: 40 }, (_, at) => `m${at}`);
  await Promise.all(texts.map((text) => one.append(said(text))));
  assert.deepEqual((await textsOf(one)).sort(), texts.sort());
});

test('a stream comes in once there is room for it', async (t) => {
  const node = await startedNode(t, '--stream-max-connections', '1');
  const one = await fastpaca
    .createClient({ baseUrl: node.address, platform })
    .context('demo', { budget: 100 });
  const first = one.stream({ cursor: 0 });
  assert.equal((await first.next()).value?.type, 'context');
  const second = one.stream({ cursor: 0 });
  const waiting = second.next();
  await one.append(said('Hi'));
  await first.return();
  assert.equal((await waiting).value?.type, 'message');
  await second.return();
});
