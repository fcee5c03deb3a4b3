/** A `fetch` that answers as it is told, and a clock that only waits move. */

import { createClient, type Client, type ClientOptions, type Platform } from '../src/index.js';

/** One try: an answer, an error that `fetch` rejects with, or nothing until it is aborted. */
export type Step = Told | Error | 'silence';

/** An answer; a body that is no string is sent as JSON. */
export interface Told {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** What was asked of `fetch`. */
export interface Asked {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

export class Script {
  readonly asked: Asked[] = [];
  readonly waits: number[] = [];
  readonly answers: Response[] = [];
  now = 0;
  random = 0;
  /** How long each request takes. */
  attemptMs = 0;
  #keys = 0;
  readonly #steps: Step[];

  constructor(...steps: Step[]) {
    this.#steps = steps;
  }

  readonly platform: Platform = {
    now: () => this.now,
    random: () => this.random,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      this.waits.push(ms);
      this.now += ms;
    },
    key: () => `key-${++this.#keys}`,
  };

  readonly fetch = async (input: unknown, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(String(input));
    this.asked.push({
      method: init.method ?? 'GET',
      path: url.pathname.replace(/^\/v1/, '') + url.search,
      headers: init.headers as Record<string, string>,
      body: (init.body as string | null) ?? undefined,
    });
    const step = this.#steps.shift();
    this.now += this.attemptMs;
    if (step === undefined) throw new Error('the script has ended');
    if (step instanceof Error) throw step;
    if (step === 'silence') return untilAborted(init.signal as AbortSignal);
    const body = typeof step.body === 'string' ? step.body : JSON.stringify(step.body ?? null);
    const answer = new Response([204, 304].includes(step.status) ? null : body, {
      status: step.status,
      headers: step.headers ?? {},
    });
    this.answers.push(answer);
    return answer;
  };

  client(options: ClientOptions = {}): Client {
    return createClient({
      baseUrl: 'http://node',
      fetch: this.fetch,
      platform: this.platform,
      ...options,
    });
  }
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** An error answer as a node gives it. */
export function refusal(status: number, error: string, more: Record<string, unknown> = {}): Told {
  return { status, body: { error, message: `It is ${error}.`, ...more } };
}

export const APPENDED = { status: 201, body: { seq: 1, version: 1, token_estimate: 5 } };
