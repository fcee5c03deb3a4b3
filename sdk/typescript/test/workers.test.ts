/**
 * Threads and processes of Node: none is given what another has asked for.
 *
 * Neither shares memory or sockets with what has started it, so a client is made anew in each. This
 * file is the test and, in a worker, the work.
 */

import assert from 'node:assert/strict';
import cluster, { type Worker as ClusterWorker } from 'node:cluster';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import * as fastpaca from '../src/index.js';
import { said, startedNode } from './node.js';

const WORKERS = 3;
const ROUNDS = 40;
const FILE = fileURLToPath(import.meta.url);

interface Task {
  address: string;
  name: string;
}

/** Append and read; where each message stands, as it was acknowledged. */
async function work({ address, name }: Task): Promise<[string, number][]> {
  const client = fastpaca.createClient({ baseUrl: address });
  const log = await client.context('log');
  const own = await client.context(`own/${name}`, { budget: 8000 });
  await own.append(said(name));
  const told: [string, number][] = [];
  for (let at = 0; at < ROUNDS; at++) {
    const text = `${name} ${at}`;
    const [appended, info, tail] = await Promise.all([
      log.append(said(text)),
      own.info(),
      own.getTail(),
    ]);
    assert.equal(info.id, `own/${name}`);
    assert.deepEqual(
      tail.map((message) => message.parts[0]!['text']),
      [name],
    );
    told.push([text, appended.seq]);
  }
  return told;
}

/** See that the log holds what all were told, and nothing else. */
async function check(address: string, told: [string, number][]): Promise<void> {
  const found: [string, number][] = [];
  const log = await fastpaca.createClient({ baseUrl: address }).context('log');
  for await (const { parts, seq } of log.messages()) found.push([String(parts[0]!['text']), seq]);
  assert.deepEqual(
    found,
    told.sort(([, one], [, other]) => one - other),
  );
  assert.equal(found.length, (WORKERS + 1) * ROUNDS);
}

const names = Array.from({ length: WORKERS }, (_, number) => `worker-${number}`);

if (!isMainThread && parentPort && workerData?.address) {
  parentPort.postMessage(await work(workerData as Task));
} else if (cluster.isWorker) {
  process.once('message', (task: Task) => {
    void work(task).then((told) => process.send!(told, () => process.disconnect()));
  });
} else {
  test('worker_threads are given their own answers', async (t) => {
    const { address } = await startedNode(t);
    const client = fastpaca.createClient({ baseUrl: address });
    await client.context('log', { budget: 1_000_000 });
    const threads = names.map((name) => new Worker(FILE, { workerData: { address, name } }));
    const results = threads.map(async (thread) => (await once(thread, 'message'))[0]);
    await check(address, (await Promise.all([work({ address, name: 'main' }), ...results])).flat());
  });

  test('workers of a cluster are given their own answers', async (t) => {
    const { address } = await startedNode(t);
    const client = fastpaca.createClient({ baseUrl: address });
    await client.context('log', { budget: 1_000_000 });
    cluster.setupPrimary({ exec: FILE });
    const results = names.map(async (name) => {
      const worker: ClusterWorker = cluster.fork();
      worker.send({ address, name });
      const [told] = await once(worker, 'message');
      await once(worker, 'exit');
      return told as [string, number][];
    });
    await check(address, (await Promise.all([work({ address, name: 'main' }), ...results])).flat());
  });
}
