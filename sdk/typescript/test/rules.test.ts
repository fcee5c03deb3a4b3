/** What all SDKs decide alike, driven through the rules that they share. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';

import { branchesOf } from '../src/branching.js';
import { CONFLICTS_MAX, KEEP_LAST } from '../src/context.js';
import { EVENT_CHARS_MAX, EventReader } from '../src/events.js';
import * as fastpaca from '../src/index.js';
import { RETRIES, TIMEOUTS } from '../src/options.js';
import * as protocol from '../src/protocol.js';
import { NUMBERS } from '../src/stream.js';
import { startedNode } from './node.js';
import {
  type Answer,
  type Case,
  type Terms,
  named,
  repeated,
  rules,
  termsOf,
  told,
  valued,
} from './rules.js';
import { Script } from './scripted.js';

const INFO = { id: 'demo', version: 0 };

function close(found: number[], expected: number[]): void {
  assert.equal(found.length, expected.length, `${found} are not ${expected}`);
  found.forEach((one, at) => assert.ok(Math.abs(one - expected[at]!) < 1e-6, `${found}`));
}

// --- retries ---

interface Retries {
  statuses: number[];
  retry_after: { headers: Record<string, string>; seconds: number | null }[];
  calls: (Case &
    Terms & {
      chance: number;
      attempt_seconds?: number;
      answers: Answer[];
      waits_seconds: number[];
      outcome: string;
    })[];
  streams: (Case & {
    chance: number;
    connections: (Answer | { frames: number; retry?: string })[];
    waits_seconds: number[];
  })[];
}

const retries = rules<Retries>('retries');

test('the statuses that are tried again are those of the rules', async () => {
  assert.deepEqual([...protocol.RETRIED_STATUSES].sort(), retries.statuses);
  for (let status = 300; status < 600; status++) {
    const script = new Script({ status, body: '' }, { status: 200, body: INFO });
    const context = await script.client().context('demo');
    await context.info().catch(() => undefined);
    assert.equal(script.asked.length, retries.statuses.includes(status) ? 2 : 1, String(status));
  }
});

for (const { headers, seconds } of retries.retry_after) {
  test(`Retry-After of ${JSON.stringify(headers)}`, () => {
    const found = protocol.retryAfterMs(headers['retry-after'] ?? null, headers['date'] ?? null);
    assert.equal(found, seconds === null ? undefined : seconds * 1000);
  });
}

for (const one of retries.calls) {
  test(`calls: ${one.rule}`, async () => {
    const script = new Script(...one.answers.map((answer) => told(answer, INFO)));
    script.random = one.chance;
    script.attemptMs = (one.attempt_seconds ?? 0) * 1000;
    const context = await script.client(termsOf(one)).context('demo');
    const outcome = await context.patchMetadata({}).then(
      () => 'answered',
      (error: fastpaca.FastpacaError) => error.code,
    );
    assert.equal(outcome, one.outcome);
    close(
      script.waits,
      one.waits_seconds.map((wait) => wait * 1000),
    );
    assert.equal(script.asked.length, one.answers.length);
  });
}

// --- streams ---

type Tell = (response: ServerResponse) => void;

/** A node that answers each request by the next of *tells*, and where it was asked from. */
async function node(
  test: TestContext,
  tells: Tell[],
  options: fastpaca.ClientOptions = {},
): Promise<{ one: fastpaca.Context; asked: number[]; waits: number[] }> {
  const asked: number[] = [];
  const waits: number[] = [];
  const server = createServer((request, response) => {
    asked.push(Number(new URL(request.url!, 'http://h').searchParams.get('cursor')));
    const tell = tells.shift();
    assert.ok(tell, 'one connection too many');
    tell(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const platform = {
    random: () => 1,
    ...options.platform,
    sleep: async (ms: number) => void waits.push(ms),
  };
  const { port } = server.address() as AddressInfo;
  const client = fastpaca.createClient({ baseUrl: `http://127.0.0.1:${port}`, platform });
  return { one: await client.context('demo'), asked, waits };
}

/** Send *text* as events, and break the connection. */
const events =
  (text: string): Tell =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(text, () => response.destroy());
  };

const refused =
  (answer: Answer): Tell =>
  (response) => {
    const step = told(answer, '');
    if (step instanceof Error) response.destroy();
    else response.writeHead(step.status, step.headers).end(JSON.stringify(step.body));
  };

const gone: Tell = (response) => response.writeHead(204).end();

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

for (const { rule, chance, connections, waits_seconds } of retries.streams) {
  test(`streams: ${rule}`, async (t) => {
    const frame = 'data: {"type":"gap","expected":1,"actual":2,"cursor":1}\n\n';
    const tells = connections.map((told) => {
      if (told === null || !('frames' in told)) return refused(told);
      const retry = told.retry === undefined ? ': open' : `retry: ${told.retry}`;
      return events(`${retry}\n\n${frame.repeat(told.frames)}`);
    });
    const platform = { random: () => chance };
    const { one, waits } = await node(t, [...tells, gone], { platform });
    await all(one.stream({ cursor: 0 }));
    close(
      waits,
      waits_seconds.map((wait) => wait * 1000),
    );
  });
}

interface Frames {
  frames: { type: fastpaca.Frame['type']; fields: string[] }[];
  unreadable: string[];
  cases: (Case & {
    cursor: number;
    connections: { asked: number; frames: { given: boolean; frame: object }[] }[];
  })[];
}

const frames = rules<Frames>('frames');

for (const { rule, cursor, connections } of frames.cases) {
  test(`frames: ${rule}`, async (t) => {
    const tells = connections.map((connection) =>
      events(connection.frames.map(({ frame }) => `data: ${JSON.stringify(frame)}\n\n`).join('')),
    );
    const { one, asked } = await node(t, tells);
    const given = connections.flatMap((connection) =>
      connection.frames.filter((one) => one.given).map(({ frame }) => frame),
    );
    assert.deepEqual(await all(one.stream({ cursor })), given);
    assert.deepEqual(
      asked,
      connections.map((connection) => connection.asked),
    );
  });
}

test('what is no frame ends a stream with an error', async (t) => {
  const { one } = await node(
    t,
    frames.unreadable.map((text) => events(`data: ${text}\n\n`)),
  );
  for (const text of frames.unreadable) {
    await assert.rejects(all(one.stream({ cursor: 0 })), fastpaca.UnexpectedResponse, text);
  }
});

test('the frames that are known are those of the rules', () => {
  assert.deepEqual(Object.keys(NUMBERS).sort(), frames.frames.map(({ type }) => type).sort());
  for (const { type, fields } of frames.frames) {
    for (const name of NUMBERS[type]) assert.ok(fields.includes(name), `${type} ${name}`);
  }
});

interface Events {
  cases: { text: string; data: string[]; retry_seconds?: number }[];
}

for (const { text, data, retry_seconds } of rules<Events>('events').cases) {
  test(`events of ${JSON.stringify(text)}, however they are cut`, () => {
    const bytes = new TextEncoder().encode(text);
    for (const size of [1, 2, 3, 1000]) {
      const reader = new EventReader();
      const decoder = new TextDecoder();
      const found: string[] = [];
      for (let at = 0; at < bytes.length; at += size) {
        const piece = decoder.decode(bytes.slice(at, at + size), { stream: true });
        found.push(...reader.push(piece));
      }
      assert.deepEqual(found, data);
      assert.equal(reader.retryMs, retry_seconds === undefined ? undefined : retry_seconds * 1000);
    }
  });
}

// --- errors ---

interface Errors {
  errors: {
    code: string;
    class: string;
    status?: number;
    fields?: Record<string, unknown>;
    is_also?: string;
    sdks?: string[];
  }[];
  answers: (Case & { answer: Answer; error: Record<string, unknown> & { class: string } })[];
}

const errors = rules<Errors>('errors');
const listed = errors.errors.filter(
  ({ sdks }) => sdks === undefined || sdks.includes('typescript'),
);
const exported = fastpaca as unknown as Record<string, typeof fastpaca.FastpacaError>;

async function thrown(answer: Answer): Promise<Record<string, unknown>> {
  const script = new Script(told(answer, INFO));
  const client = script.client({ retries: { attemptsMax: 1 } });
  const error: unknown = await (
    await client.context('demo')
  )
    .info()
    .catch((error: unknown) => error);
  assert.ok(error instanceof fastpaca.FastpacaError, String(error));
  return error as unknown as Record<string, unknown>;
}

test('the classes that are exported are those of the rules', () => {
  const known = Object.entries(exported).filter(([, type]) =>
    Object.prototype.isPrototypeOf.call(fastpaca.FastpacaError, type),
  );
  const names = Object.fromEntries(known.map(([name, type]) => [name, type.code]));
  assert.deepEqual(names, Object.fromEntries(listed.map((one) => [one.class, one.code])));
});

for (const { code, class: name, status, fields, is_also } of listed) {
  test(`${code} is a ${name}`, async () => {
    const type = exported[name]!;
    if (is_also !== undefined) assert.equal(Object.getPrototypeOf(type), exported[is_also]);
    if (status === undefined) return;
    const error = await thrown({ status, json: { error: code, message: 'Why.', ...fields } });
    assert.equal(Object.getPrototypeOf(error), type.prototype);
    assert.ok(error instanceof type);
    assert.ok(error instanceof Error);
    assert.equal(error.name, name);
    assert.deepEqual(
      [error['code'], error['status'], error['message'], error['fields']],
      [code, status, 'Why.', fields ?? {}],
    );
    for (const [field, value] of Object.entries(fields ?? {})) assert.equal(error[field], value);
  });
}

for (const { rule, answer, error: expected } of errors.answers) {
  test(`answers: ${rule}`, async () => {
    const error = await thrown(answer);
    const { class: name, ...fields } = expected;
    assert.equal(error['name'], name);
    assert.equal(Object.getPrototypeOf(error), exported[name]!.prototype);
    for (const [field, value] of Object.entries(fields)) {
      const isTime = field.includes('seconds') && value !== null;
      assert.deepEqual(
        error[named(field)] ?? null,
        isTime ? valued(field, value as number) : value,
        field,
      );
    }
  });
}

// --- limits ---

interface Limits {
  id_bytes_max: number;
  idempotency_key_chars_max: number;
  event_bytes_max: number;
  response_bytes_max: number;
  ids: { id: string; times?: number; path?: string }[];
  ids_refused: { id: unknown; times?: number }[];
  idempotency_keys: { key: string; times?: number }[];
  idempotency_keys_refused: { key: unknown; times?: number }[];
  api_keys: string[];
  api_keys_refused: string[];
  headers: { given: Record<string, string>; api_key?: string }[];
  headers_refused: { given: Record<string, string>; api_key?: string }[];
  base_urls: { given: string; asked: string }[];
  base_urls_refused: string[];
}

const limits = rules<Limits>('limits');

const isRefusedAs =
  (field: string) =>
  (error: unknown): boolean =>
    error instanceof fastpaca.InvalidRequest && error.field === field;

test('limits are those of the rules', () => {
  assert.equal(protocol.ID_BYTES_MAX, limits.id_bytes_max);
  assert.equal(protocol.KEY_CHARS_MAX, limits.idempotency_key_chars_max);
  assert.equal(protocol.RESPONSE_BYTES_MAX, limits.response_bytes_max);
  assert.equal(EVENT_CHARS_MAX, limits.event_bytes_max);
});

test('an id has its path, to the letter, and what is none is refused', () => {
  for (const { id, times, path } of limits.ids) {
    const name = repeated(id, times) as string;
    assert.equal(`/v1${protocol.pathOf(name)}`, path ?? `/v1/contexts/${encodeURIComponent(name)}`);
  }
  for (const { id, times } of limits.ids_refused) {
    const name = repeated(id, times) as string;
    assert.throws(() => protocol.pathOf(name), isRefusedAs('id'), JSON.stringify(name));
  }
});

test('a key of the caller is sent as it is, and what is none is refused', async () => {
  const script = new Script(
    ...limits.idempotency_keys.map(() => ({ status: 200, body: { version: 1 } })),
  );
  const context = await script.client().context('demo');
  const compact = (key: unknown, times?: number): Promise<unknown> =>
    context.compact([], { idempotencyKey: repeated(key, times) as string });
  for (const { key, times } of limits.idempotency_keys) {
    await compact(key, times);
    assert.equal(script.asked.at(-1)!.headers['Idempotency-Key'], repeated(key, times));
  }
  for (const { key, times } of limits.idempotency_keys_refused) {
    await assert.rejects(compact(key, times), isRefusedAs('idempotencyKey'), String(key));
  }
  assert.equal(script.asked.length, limits.idempotency_keys.length);
});

test('an API key is sent as it is, and what no node has is refused and not shown', async () => {
  for (const apiKey of limits.api_keys) {
    const script = new Script({ status: 200, body: INFO });
    await (await script.client({ apiKey }).context('demo')).info();
    assert.equal(script.asked[0]!.headers['Authorization'], `Bearer ${apiKey}`);
  }
  for (const apiKey of limits.api_keys_refused) {
    assert.throws(
      () => fastpaca.createClient({ apiKey }),
      (error) =>
        isRefusedAs('apiKey')(error) &&
        !(error as Error).message.split(/\s+/).includes(apiKey.trim() || ' '),
      apiKey,
    );
  }
});

test('headers of the caller are sent, and those that cannot be sent are refused', async () => {
  const optionsOf = (given: Record<string, string>, apiKey?: string): fastpaca.ClientOptions => ({
    headers: given,
    ...(apiKey !== undefined && { apiKey }),
  });
  for (const { given, api_key } of limits.headers) {
    const script = new Script({ status: 200, body: { version: 1 } });
    await (await script.client(optionsOf(given, api_key)).context('c')).compact([]);
    const sent = script.asked[0]!.headers;
    for (const [name, value] of Object.entries(given)) assert.equal(sent[name], value);
    assert.equal(sent['Accept'], 'application/json');
    assert.ok(sent['Idempotency-Key']);
  }
  for (const { given, api_key } of limits.headers_refused) {
    const made = (): unknown => fastpaca.createClient(optionsOf(given, api_key));
    assert.throws(made, isRefusedAs('headers'), JSON.stringify(given));
  }
});

test('an address may have the version and slashes, and one that can never work is refused', async () => {
  for (const { given, asked } of limits.base_urls) {
    const urls: string[] = [];
    const fetch = async (input: unknown): Promise<Response> => {
      urls.push(String(input));
      return new Response(JSON.stringify(INFO));
    };
    const client = fastpaca.createClient({ baseUrl: given, fetch });
    await (await client.context('demo')).info();
    assert.deepEqual(urls, [asked]);
  }
  for (const baseUrl of limits.base_urls_refused) {
    assert.throws(() => fastpaca.createClient({ baseUrl }), isRefusedAs('baseUrl'), baseUrl);
  }
});

// --- options ---

interface Listed {
  name: string;
  default: number;
  sdks?: string[];
}

interface Options {
  base_url: string;
  keep_last: number;
  timeouts: Listed[];
  retries: Listed[];
  refused: Terms[];
  endless: Terms[];
  verbs: { client: string[]; context: string[] };
}

const options = rules<Options>('options');

test('options have the names and defaults of the rules', () => {
  const here = (listed: Listed[]): object =>
    Object.fromEntries(
      listed
        .filter(({ sdks }) => sdks === undefined || sdks.includes('typescript'))
        .map((one) => [named(one.name), valued(one.name, one.default)]),
    );
  assert.deepEqual(TIMEOUTS, here(options.timeouts));
  assert.deepEqual(RETRIES, here(options.retries));
  assert.equal(protocol.BASE_URL, options.base_url);
  assert.equal(KEEP_LAST, options.keep_last);
});

test('options that can never work are refused, by the client and by a call', async () => {
  const context = await new Script().client().context('demo');
  for (const terms of options.refused) {
    const [[name]] = Object.entries({ ...terms.timeouts, ...terms.retries }) as [[string, unknown]];
    const refused = isRefusedAs(named(name));
    assert.throws(() => fastpaca.createClient(termsOf(terms)), refused, name);
    if (terms.timeouts === undefined) continue;
    const { timeouts } = termsOf(terms);
    await assert.rejects(context.info({ timeouts }), refused, name);
    assert.throws(() => context.stream({ timeouts: timeouts! }), refused, name);
  }
});

test('a time may be endless', async (t) => {
  const real = await startedNode(t);
  for (const terms of options.endless) {
    const client = fastpaca.createClient({ baseUrl: real.address, ...termsOf(terms) });
    const context = await client.context('endless', { budget: 100 });
    const stream = context.stream({ cursor: 0 });
    assert.equal((await stream.next()).value?.cursor, 0);
    await stream.return();
  }
});

test('the verbs are those of the rules', () => {
  const verbs = (type: object): string[] =>
    Object.getOwnPropertyNames(type)
      .filter((name) => name !== 'constructor')
      .sort();
  assert.deepEqual(verbs(fastpaca.Client.prototype), options.verbs.client.map(named).sort());
  assert.deepEqual(verbs(fastpaca.Context.prototype), options.verbs.context.map(named).sort());
});

// --- branches ---

for (const one of rules<{ cases: (Case & { rewinds: [number, number][]; branches: number[] })[] }>(
  'branches',
).cases) {
  test(`branches: ${one.rule}`, () => {
    const history = one.rewinds.map(
      ([version, to_version]) => ({ version, to_version, at: '' }) as fastpaca.Compaction,
    );
    const left = branchesOf(history);
    assert.deepEqual(
      left.map(({ version }) => version),
      one.branches,
    );
  });
}

// --- conflicts ---

interface Conflicts {
  conflicts_max: number;
  cases: (Case & { answers: string[]; summaries: number; outcome: string })[];
}

const conflicts = rules<Conflicts>('conflicts');

function window(fit: string, needs_compaction: boolean): Answer {
  const roles = ['system', 'user', 'assistant', 'user', 'assistant'];
  const messages = roles.map((role, at) => ({
    seq: at + 1,
    role,
    parts: [{ type: 'text' }],
    token_count: 1,
  }));
  const json = { version: 5, messages, fit, needs_compaction, window_tokens: 9, token_budget: 5 };
  return { status: 200, json };
}

const ANSWERS: Record<string, Answer> = {
  window: window('whole', true),
  'small window': window('whole', false),
  'shortened window': window('dropped', true),
  'whole window': window('whole', true),
  configuration: { status: 200, json: { version: 5, token_budget: 10, trigger_ratio: 0.5 } },
  conflict: {
    status: 409,
    json: { error: 'conflict', message: 'm', expected: 5, found: 6 },
  },
  tombstoned: { status: 409, error: 'tombstoned' },
  compacted: { status: 200, json: { version: 9 } },
};

for (const { rule, answers, summaries, outcome } of conflicts.cases) {
  test(`conflicts: ${rule}`, async () => {
    const script = new Script(...answers.map((name) => told(ANSWERS[name]!, '')));
    const context = await script.client().context('demo');
    let made = 0;
    const found = await context
      .compactIfNeeded(() => `summary ${++made}`, { keepLast: 2 })
      .then(
        (compacted) => (compacted === null ? 'nothing' : 'compacted'),
        (error: fastpaca.FastpacaError) => error.code,
      );
    assert.equal(found, outcome);
    assert.equal(script.asked.length, answers.length);
    assert.equal(made, summaries);
  });
}

test('the limit of conflicts is that of the rules', () => {
  assert.equal(CONFLICTS_MAX, conflicts.conflicts_max);
});
