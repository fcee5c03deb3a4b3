/** Every call, against a real node. */

import assert from 'node:assert/strict';
import { before, after, test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { Node, said } from './node.js';
import { startedProxy } from './proxy.js';

const node = new Node();
let client: fastpaca.Client;
let names = 0;

before(async () => {
  await node.start();
  client = fastpaca.createClient({ baseUrl: node.address });
});
after(() => node.remove());

async function context(
  options: fastpaca.ContextOptions = { budget: 8000 },
): Promise<fastpaca.Context> {
  return client.context(`context ${++names}`, options);
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

test('a context is made, found and changed; its options are those of the node', async () => {
  const made = await client.context('made', {
    budget: 4000,
    trigger: 0.5,
    policy: { strategy: 'last_n', config: { limit: 7 } },
    metadata: { user: 'ana' },
  });
  const info = await made.info();
  assert.equal(info.token_budget, 4000);
  assert.equal(info.trigger_ratio, 0.5);
  assert.equal(info.policy.config['limit'], 7);
  assert.deepEqual(info.metadata, { user: 'ana' });
  await client.context('made', { policy: 'manual' });
  assert.deepEqual((await made.info()).policy, { strategy: 'manual', config: {} });
  assert.equal((await made.info()).token_budget, 4000);
});

test('what was edited is read and followed: ids, path, rewinds, branches and forks', async () => {
  const one = await context();
  await one.append(said('a'));
  await one.put({ id: 'm', ...said('b', 'assistant') });
  assert.equal((await one.put({ id: 'm', ...said('c', 'assistant') })).revises, 2);
  const path = await all(one.messages({ path: 'current', limit: 1 }));
  assert.deepEqual(
    path.map(({ seq }) => seq),
    [1, 3],
  );
  assert.equal((await one.getTail({ limit: 1, path: 'current' }))[0]!.revises, 2);
  await assert.rejects(one.get('none'), fastpaca.MessageNotFound);
  await assert.rejects(one.put([said('a')] as never), { field: 'message' });
  await assert.rejects(one.put(said('a')), { field: 'id' });
  await assert.rejects(one.rewind({}), { field: 'toVersion' });
  await one.rewind({ toSeq: 1 });
  await one.append(said('d', 'assistant'));
  const [branch] = await one.branches();
  assert.deepEqual([branch!.version, branch!.to_version], [3, 1]);
  await one.rewind({ toVersion: branch!.version });
  const copy = await one.fork(`${one.id} copy`);
  assert.equal((await copy.info()).forked_from!.id, one.id);
  await assert.rejects(one.fork(copy.id), fastpaca.AlreadyExists);
  const frames: unknown[] = [];
  for await (const frame of one.stream({ cursor: 0 })) {
    if (frame.type === 'message') frames.push([frame.version, frame.revises]);
    if (frame.type === 'rewind') frames.push([frame.version, `to ${frame.to_version}`]);
    if (frame.type === 'context') break;
  }
  const expected = [
    [1, undefined],
    [2, undefined],
    [3, 2],
    [4, 'to 1'],
    [5, undefined],
    [6, 'to 3'],
  ];
  assert.deepEqual(frames, expected);
});

test('the handle of a context that exists asks nothing', async () => {
  const silent = fastpaca.createClient({
    baseUrl: node.address,
    fetch: () => assert.fail('asked'),
  });
  assert.equal((await silent.context('any')).id, 'any');
  assert.equal((await silent.context('any', {})).id, 'any');
});

test('a context that was never made is not found', async () => {
  await assert.rejects(
    (await client.context('never made')).append(said('Hi')),
    fastpaca.ContextNotFound,
  );
});

test('a message comes back as it was sent, with its id, metadata and keys of its own', async () => {
  const one = await context();
  const message = {
    id: 'm-1',
    role: 'assistant',
    parts: [
      { type: 'text', text: 'a\u0000b \ud83d\ude00' },
      { type: 'mine', deep: { list: [null, true, -0.5, {}] } },
    ],
    metadata: { model: 'x' },
    custom: [1.5],
  };
  const appended = await one.append(message, { tokenCount: 42 });
  assert.deepEqual(appended, { seq: 1, version: 1, token_estimate: 42 });
  const [found] = await one.getTail();
  const { seq, version, token_count, inserted_at, ...rest } = found!;
  assert.deepEqual(rest, message);
  assert.deepEqual([seq, version, token_count], [1, 1, 42]);
  assert.match(inserted_at, /Z$/);
});

test('several messages are appended at once, with a count of their own', async () => {
  const one = await context();
  const appended = await one.append([said('One'), { ...said('Two'), token_count: 9 }], {
    ifVersion: 0,
  });
  assert.deepEqual(
    appended.map(({ seq }) => seq),
    [1, 2],
  );
  assert.equal(appended[1]!.token_estimate, 9);
  await assert.rejects(
    one.append([said('Three')] as never, { tokenCount: 3 }),
    (error) => error instanceof fastpaca.InvalidRequest && error.field === 'tokenCount',
  );
});

test('ifVersion of 0 is a version like any other', async () => {
  const one = await context();
  await one.append(said('Hi'), { ifVersion: 0 });
  const guarded = [
    () => one.append(said('again'), { ifVersion: 0 }),
    () => one.compact([], { ifVersion: 0 }),
    () => one.context({ ifVersion: 0 }),
  ];
  for (const call of guarded) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof fastpaca.VersionConflict);
      assert.deepEqual([error.expected, error.found], [0, 1]);
      return true;
    });
  }
  await one.append(said('anyhow'), { ifVersion: null });
});

test('a write with a key of the caller happens once', async () => {
  const one = await context();
  const options = { idempotencyKey: `key of ${one.id}` };
  assert.deepEqual(await one.append(said('Hi'), options), await one.append(said('Hi'), options));
  await assert.rejects(one.append(said('Ho'), options), fastpaca.IdempotencyConflict);
  assert.equal((await one.info()).version, 1);
});

test('the LLM context is read whole, under a budget, and as it was', async () => {
  const one = await context();
  await one.append([said('One '.repeat(50)), said('Two'), said('Three')]);
  const view = await one.context();
  assert.deepEqual(
    view.messages.map(({ seq }) => seq),
    [1, 2, 3],
  );
  assert.equal(view.fit, 'whole');
  assert.equal(view.needs_compaction, false);
  const fitted = await one.context({ budgetTokens: 20, ifVersion: 3 });
  assert.deepEqual(
    fitted.messages.map(({ seq }) => seq),
    [2, 3],
  );
  assert.equal(fitted.token_budget, 20);
  await one.compact([said('Summary')], { ifVersion: 3 });
  assert.deepEqual(
    (await one.context()).messages.map(({ seq }) => seq),
    [null],
  );
  assert.deepEqual(
    (await one.atVersion(2)).messages.map(({ seq }) => seq),
    [1, 2],
  );
  assert.deepEqual((await one.context({ atVersion: 0 })).messages, []);
});

test('the log is read from its end and forward, over many pages', async () => {
  const one = await context();
  await one.append(Array.from({ length: 25 }, (_, at) => said(`m${at + 1}`)));
  const seqs = async (options?: fastpaca.MessagesOptions): Promise<number[]> =>
    (await all(one.messages(options))).map(({ seq }) => seq);
  const upTo = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, at) => from + at);
  assert.deepEqual(await seqs(), upTo(1, 25));
  assert.deepEqual(await seqs({ limit: 4 }), upTo(1, 25));
  assert.deepEqual(await seqs({ limit: 5, fromSeq: 6, toSeq: 20 }), upTo(6, 20));
  assert.deepEqual(await seqs({ limit: 2, fromSeq: -5 }), upTo(21, 25));
  assert.deepEqual(await seqs({ fromSeq: 26 }), []);
  assert.deepEqual(
    (await one.getTail({ limit: 2 })).map(({ seq }) => seq),
    [24, 25],
  );
  assert.deepEqual(
    (await one.getTail({ offset: 23, limit: 10 })).map(({ seq }) => seq),
    [1, 2],
  );
  assert.deepEqual(await one.getTail({ offset: 25 }), []);
});

test('metadata is merged', async () => {
  const one = await context({ metadata: { a: 1, b: 2 } });
  assert.deepEqual((await one.patchMetadata({ b: null, c: 3 })).metadata, { a: 1, c: 3 });
});

test('what rewrote the window is listed, over many pages', async () => {
  const one = await context({ policy: 'manual' });
  for (let count = 0; count < 5; count++) await one.compact([said(`Summary ${count}`)]);
  const versions = async (options: fastpaca.CompactionsOptions): Promise<number[]> =>
    (await all(one.compactions(options))).map(({ version }) => version);
  assert.deepEqual(await versions({ limit: 2 }), [1, 2, 3, 4, 5]);
  assert.deepEqual(await versions({ after: 3 }), [4, 5]);
});

test('contexts are listed in the order of their ids, over many pages', async () => {
  const ids = ['list/ä', 'list/%2F', 'list/a b', 'list/?&#', 'list/'];
  for (const id of ids) await client.context(id, { budget: 100 });
  const found = (await all(client.listContexts({ prefix: 'list/', limit: 2 }))).map(({ id }) => id);
  const order = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
  assert.deepEqual(found, [...ids].sort(order));
});

test('a deleted context is read and never written, a purged one is gone', async () => {
  const one = await context();
  await one.append(said('Hi'));
  await client.deleteContext(one.id);
  await client.deleteContext(one.id);
  assert.equal((await one.info()).status, 'tombstoned');
  await assert.rejects(one.append(said('Ho')), fastpaca.Tombstoned);
  await one.delete({ purge: true });
  await assert.rejects(one.info(), fastpaca.ContextNotFound);
  await assert.rejects(one.append(said('Ho')), fastpaca.Purged);
});

test('a message that the node refuses is refused with its place', async () => {
  const one = await context();
  await assert.rejects(one.append({ role: 'user', parts: [{} as { type: string }] }), (error) => {
    assert.ok(error instanceof fastpaca.InvalidRequest);
    assert.equal(error.field, 'message.parts[0].type');
    assert.equal(error.status, 400);
    assert.ok(error.requestId);
    return true;
  });
});

test('integers that JavaScript cannot hold survive a compaction, and a reader that keeps them', async () => {
  const huge = 2n ** 70n + 1n;
  type Source = { source?: string };
  const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;
  const json: fastpaca.Json = {
    parse: (text) =>
      JSON.parse(text, ((_: string, value: unknown, { source }: Source) =>
        Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(source ?? '')
          ? BigInt(source!)
          : value) as never),
    stringify: (value) =>
      JSON.stringify(value, (_, one: unknown) =>
        typeof one === 'bigint' ? raw(String(one)) : one,
      ),
  };
  const exact = fastpaca.createClient({ baseUrl: node.address, json });
  const one = await exact.context('exact', { policy: 'manual', budget: 200 });
  const message = { role: 'user', parts: [{ type: 'number', huge, text: 'x'.repeat(400) }] };
  await one.append([message, message]);
  assert.equal((await one.getTail())[0]!.parts[0]!['huge'], huge);

  const plain = await client.context('exact');
  assert.deepEqual(await plain.compactIfNeeded(() => 'Numbers.', { keepLast: 1 }), {
    version: 3,
  });
  const { messages } = await one.context();
  assert.deepEqual(
    messages.map(({ seq }) => seq),
    [null, 2],
  );
  assert.equal(messages[1]!.parts[0]!['huge'], huge);
});

test('a window is below its trigger after a compaction, however few messages fill it', async () => {
  const one = await context({ budget: 1_000, policy: 'manual' });
  const part = (role: string, type: string, more: object): fastpaca.NewMessage => ({
    role,
    parts: [{ type, ...more }],
  });
  await one.append([said('Be brief.', 'system'), said('Look at all files.')]);
  let compactions = 0;
  for (let at = 0; at < 12; at++) {
    const call_id = `c${at}`;
    await one.append([
      part('assistant', 'custom_tool_call', { call_id, name: 'read', input: 'y' }),
      part('tool', 'custom_tool_call_output', { call_id, output: 'x'.repeat(700) }),
    ]);
    const { needs_compaction } = await one.context();
    const done = await one.compactIfNeeded((old) => `${old.length} messages.`);
    assert.equal(done !== null, needs_compaction);
    if (done !== null) compactions += 1;
    const after = await one.context();
    assert.equal(after.needs_compaction, false);
    const types = after.messages.map(({ parts }) => parts[0]!.type);
    const calls = types.filter((type) => type === 'custom_tool_call');
    const results = types.filter((type) => type === 'custom_tool_call_output');
    assert.equal(calls.length, results.length);
    assert.equal(after.messages[0]!.role, 'system');
  }
  assert.ok(compactions > 1);
  await one.append(said('x'.repeat(4_000)));
  await assert.rejects(
    one.compactIfNeeded(() => assert.fail('no summary can help')),
    (error) => error instanceof fastpaca.CannotCompact && error.keptTokens > error.triggerTokens,
  );
});

test('a summary that takes its time loses nothing that is appended meanwhile', async () => {
  const one = await context({ budget: 100, policy: 'manual' });
  await one.append(
    Array.from({ length: 6 }, (_, at) =>
      said(`${at} ${'x'.repeat(at < 4 ? 80 : 20)}`, at % 2 ? 'assistant' : 'user'),
    ),
  );
  let calls = 0;
  const done = await one.compactIfNeeded(
    async (old, view) => {
      calls += 1;
      assert.deepEqual(
        old.map(({ seq }) => seq),
        [1, 2, 3, 4],
      );
      assert.equal(view.version, 6);
      await one.append([said('meanwhile'), said('and then', 'assistant')]);
      return {
        role: 'system',
        parts: [{ type: 'text', text: 'Four messages.' }],
        metadata: { of: 4 },
      };
    },
    { keepLast: 2 },
  );
  assert.equal(calls, 1);
  assert.deepEqual(done, { version: 9 });
  const { messages, segments } = await one.context();
  assert.deepEqual(
    messages.map(({ seq }) => seq),
    [null, 5, 6, 7, 8],
  );
  assert.deepEqual(messages[0]!.metadata, { of: 4 });
  assert.deepEqual(segments, [
    { type: 'summary', from_seq: 1, to_seq: 4 },
    { type: 'live', from_seq: 5, to_seq: 8 },
  ]);
  assert.equal((await all(one.messages())).length, 8);
});

test('connections are used again, also after answers without success', async (t) => {
  const proxy = await startedProxy(t, node.port);
  const one = await fastpaca
    .createClient({ baseUrl: proxy.address })
    .context('reused', { budget: 100 });
  for (let count = 0; count < 20; count++) {
    await one.append(said('Hi'));
    await one.context();
    await assert.rejects(one.append(said('Hi'), { ifVersion: 0 }), fastpaca.VersionConflict);
    await one.patchMetadata({ count });
  }
  assert.ok(proxy.connections <= 2, `${proxy.connections} connections`);
});

test('a key that no header can carry is refused, and not shown', () => {
  for (const apiKey of ['', 'se cret', 'secret\n', 'schlüssel'])
    assert.throws(
      () => fastpaca.createClient({ apiKey }),
      (error) =>
        error instanceof fastpaca.InvalidRequest && !/secret|cret|schl/.test(error.message),
    );
});

test('a node with a key wants it', async (t) => {
  const locked = new Node('--api-key', 'secret');
  t.after(() => locked.remove());
  await locked.start();
  const stranger = fastpaca.createClient({ baseUrl: locked.address });
  await assert.rejects(stranger.context('demo', { budget: 5 }), fastpaca.Unauthorized);
  const known = fastpaca.createClient({ baseUrl: `${locked.address}/v1/`, apiKey: 'secret' });
  await known.context('demo', { budget: 5 });
});
