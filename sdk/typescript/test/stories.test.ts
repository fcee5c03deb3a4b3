/** The stories that all SDKs share: what is sent, over which faults, and what comes of it. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { type Client, FastpacaError, createClient } from '../src/index.js';

interface Request {
  method: string;
  path: string;
  headers?: Record<string, string>;
  json?: unknown;
}

interface Outcome {
  status?: number;
  headers?: Record<string, string>;
  json?: unknown;
  text?: string;
  cut?: boolean;
  request?: Request;
}

interface Step {
  call?: { context?: string; verb: string; arguments: Record<string, unknown> };
  faults?: Outcome[];
  request: Request;
  response: Outcome;
  value?: unknown;
  values?: unknown[];
  error?: Record<string, unknown>;
}

const WIRE = process.env['WIRE'] ?? '../../tests/wire';
const TIME = '2026-01-05T09:30:00.000000Z';

/** Names that are other words here. */
const NAMES: Record<string, string> = { get_tail: 'getTail' };
const POSITIONAL = ['id', 'message', 'messages', 'changes', 'replacement', 'summary'];

function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function filled(value: unknown): string {
  return JSON.stringify(value).replaceAll('<time>', TIME).replaceAll('<any>', 'any');
}

/** A path segment by segment and a query in any order, decoded. */
function takenApart(target: string): unknown {
  const [path, query] = target.split('?', 2) as [string, string | undefined];
  return [path.split('/').map(decodeURIComponent), [...new URLSearchParams(query)].sort()];
}

/** A node that answers as a story tells, and checks what it is asked. */
class Script {
  readonly waits: number[] = [];
  readonly asked: number[] = [];
  failure: unknown;
  #attempts: [Request, Outcome][] = [];
  readonly #keys = new Map<string, string>();

  expect(steps: Step[]): void {
    assert.equal(this.#attempts.length, 0, 'a call sent fewer requests than told');
    for (const { request, faults = [], response } of steps) {
      for (const fault of faults) this.#attempts.push([fault.request ?? request, fault]);
      this.#attempts.push([request, response]);
    }
  }

  done(): void {
    if (this.failure !== undefined) throw this.failure;
    assert.equal(this.#attempts.length, 0, 'a call sent fewer requests than told');
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await text(request);
      const attempt = this.#attempts.shift();
      assert.ok(attempt, `one request too many: ${request.method} ${request.url}`);
      this.#check(attempt[0], request, body);
      this.#answer(attempt[1], response);
    } catch (failure) {
      this.failure ??= failure;
      response.writeHead(400).end();
    }
  }

  #check(expected: Request, request: IncomingMessage, body: string): void {
    assert.equal(request.method, expected.method);
    assert.deepEqual(takenApart(request.url!), takenApart(expected.path));
    if ('json' in expected) {
      assert.equal(request.headers['content-type'], 'application/json');
      assert.deepEqual(JSON.parse(body), JSON.parse(filled(expected.json)));
    } else {
      assert.equal(body, '');
    }
    for (const [name, value] of Object.entries(expected.headers ?? {})) {
      const found = request.headers[name.toLowerCase()] as string;
      if (!value.startsWith('<key:')) {
        assert.equal(found, value);
        continue;
      }
      if (!this.#keys.has(value)) this.#keys.set(value, found);
      assert.equal(found, this.#keys.get(value));
      assert.equal(new Set(this.#keys.values()).size, this.#keys.size, 'two calls share a key');
    }
  }

  #answer(outcome: Outcome, response: ServerResponse): void {
    if (outcome.status === undefined) {
      response.destroy();
      return;
    }
    this.asked.push(Number(outcome.headers?.['retry-after'] ?? 0) * 1000);
    response.writeHead(outcome.status, {
      'content-type': 'application/json',
      ...outcome.headers,
    });
    const body =
      'json' in outcome ? filled(outcome.json) : (outcome.text ?? '').replaceAll('<any>', 'any');
    if (outcome.cut) response.write(body, () => response.destroy());
    else response.end(body);
  }
}

async function made(
  client: Client,
  { context, verb, arguments: given }: NonNullable<Step['call']>,
): Promise<unknown> {
  const isIterated = verb === 'messages';
  const positional: unknown[] = [];
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name === 'summary') positional.push(() => value);
    else if (POSITIONAL.includes(name) && !isIterated && !(verb === 'put' && name === 'id'))
      positional.push(value);
    else options[camel(name)] = value;
  }
  const target = (context === undefined
    ? client
    : await client.context(context)) as unknown as Record<string, (...given: unknown[]) => unknown>;
  const result = target[NAMES[verb] ?? camel(verb)]!(...positional, options);
  if (typeof result !== 'object' || result === null || !(Symbol.asyncIterator in result))
    return result;
  const values: unknown[] = [];
  for await (const value of result as AsyncIterable<unknown>) values.push(value);
  return values;
}

/** Compare lists whole, and of objects the fields that are shown. */
function checkShown(shown: unknown, found: unknown): void {
  if (Array.isArray(shown) && Array.isArray(found)) {
    assert.equal(found.length, shown.length, JSON.stringify(found));
    shown.forEach((one, at) => checkShown(one, found[at]));
  } else if (
    typeof shown === 'object' &&
    shown !== null &&
    typeof found === 'object' &&
    found !== null
  ) {
    for (const [name, value] of Object.entries(shown)) {
      checkShown(value, (found as Record<string, unknown>)[name]);
    }
  } else {
    assert.deepEqual(found ?? null, shown);
  }
}

async function play(client: Client, steps: Step[]): Promise<void> {
  const outcome = steps.at(-1)!;
  try {
    const value = await made(client, steps[0]!.call!);
    assert.ok('value' in outcome || 'values' in outcome, JSON.stringify(value));
    checkShown('value' in outcome ? outcome.value : outcome.values, value);
  } catch (error) {
    if (!(error instanceof FastpacaError) || outcome.error === undefined) throw error;
    const { code, status, field, fields } = error;
    assert.ok('code' in outcome.error);
    checkShown(outcome.error, { ...fields, code, status, field });
  }
}

const files = readdirSync(WIRE).filter((name) => name.startsWith('sdk_') && name.endsWith('.json'));
assert.ok(files.length > 0, 'there are no stories');

for (const file of files.sort()) {
  const stories = JSON.parse(readFileSync(join(WIRE, file), 'utf8')) as {
    story: string;
    steps: Step[];
  }[];
  for (const { story, steps } of stories) {
    test(`${file}: ${story}`, async (t) => {
      const script = new Script();
      const server = createServer((request, response) => void script.serve(request, response));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      t.after(() => {
        server.closeAllConnections();
        server.close();
      });
      const client = createClient({
        baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        platform: {
          sleep: async (ms) => {
            const asked = script.asked.at(-1) ?? 0;
            assert.ok(ms >= asked, `waited ${ms} ms of ${asked}`);
          },
        },
      });
      const calls: Step[][] = [];
      for (const step of steps) step.call ? calls.push([step]) : calls.at(-1)!.push(step);
      for (const call of calls) {
        script.expect(call);
        await play(client, call).catch((error: unknown) => Promise.reject(script.failure ?? error));
        script.done();
      }
    });
  }
}
