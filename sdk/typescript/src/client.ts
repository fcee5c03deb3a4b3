/**
 * A client of a node: returns handles of contexts, lists contexts and deletes them.
 */

import { Context, type ContextOptions } from './context.js';
import { type Retries, type Some, type Timeouts, retriesOf, timeoutsOf } from './options.js';
import { BASE_URL, type Json, baseOf, checkApiKey, checkHeaders, queryOf } from './protocol.js';
import { type CallOptions, type Platform, Transport, timerMs } from './transport.js';
import type { ContextInfo } from './types.js';

/** The options of a client. */
export interface ClientOptions {
  /** The address of the node, with or without `/v1`; default `http://127.0.0.1:4000`. */
  baseUrl?: string;
  /** The API key, if the node has one. */
  apiKey?: string;
  /** Headers to send with every request. */
  headers?: Readonly<Record<string, string>>;
  /** How long to wait; absent times have their defaults. */
  timeouts?: Some<Timeouts>;
  /** How often to try; absent options have their defaults. */
  retries?: Some<Retries>;
  /** Reads and writes JSON in place of the runtime, for example to keep large integers. */
  json?: Json;
  /** Sends requests in place of the runtime's `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Clock, randomness, waits and keys, for tests. */
  platform?: Partial<Platform>;
}

export interface ListOptions extends CallOptions {
  /** Only contexts whose ids begin with this. */
  prefix?: string | undefined;
  /** The number of contexts in one request. */
  limit?: number | undefined;
}

/** Make a client. Nothing is sent before the first call. */
export function createClient(options: ClientOptions = {}): Client {
  return new Client(options);
}

export class Client {
  readonly #transport: Transport;

  constructor(options: ClientOptions = {}) {
    const { apiKey, fetch, platform } = options;
    if (apiKey !== undefined) checkApiKey(apiKey);
    checkHeaders(options.headers ?? {}, apiKey !== undefined);
    const headers = {
      ...options.headers,
      ...(apiKey !== undefined && { Authorization: `Bearer ${apiKey}` }),
    };
    this.#transport = new Transport({
      base: baseOf(options.baseUrl ?? BASE_URL),
      headers,
      timeouts: timeoutsOf(options.timeouts),
      retries: retriesOf(options.retries),
      json: options.json ?? JSON,
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      platform: { ...runtime, ...platform },
    });
  }

  /**
   * Return a handle of a context.
   *
   * With any of `budget`, `trigger`, `policy` and `metadata` this creates the context, or changes it
   * where it differs. Without them it sends nothing.
   */
  async context(id: string, options: ContextOptions = {}): Promise<Context> {
    const context = new Context(this.#transport, id);
    const { budget, trigger, policy, metadata } = options;
    if ([budget, trigger, policy, metadata].some((option) => option !== undefined)) {
      await context.configure(options);
    }
    return context;
  }

  /** Make a context read-only; with `purge`, erase it permanently. */
  async deleteContext(
    id: string,
    options: CallOptions & { purge?: boolean | undefined } = {},
  ): Promise<void> {
    await new Context(this.#transport, id).delete(options);
  }

  /** Iterate over contexts in byte order of their ids, reading pages as they are needed. */
  async *listContexts(options: ListOptions = {}): AsyncGenerator<ContextInfo, void> {
    const { prefix, limit } = options;
    let after: string | undefined;
    do {
      const path = `/contexts${queryOf({ prefix, after, limit })}`;
      const request = { method: 'GET', path } as const;
      type Page = { contexts: ContextInfo[]; next: string | null };
      const page: Page = await this.#transport.value<Page>(request, 'contexts', options);
      yield* page.contexts;
      after = page.next ?? undefined;
    } while (after !== undefined);
  }
}

const runtime: Platform = {
  now: () => performance.now(),
  random: () => Math.random(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, timerMs(ms));
      if (signal?.aborted) stop();
      else signal?.addEventListener('abort', stop, { once: true });
    }),
  key: () => {
    const bytes = new Uint8Array(16);
    // Node 18 has no global crypto. A key must be unique, but it is not a secret.
    if (globalThis.crypto === undefined)
      bytes.forEach((_, index) => (bytes[index] = Math.random() * 256));
    else crypto.getRandomValues(bytes);
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  },
};
