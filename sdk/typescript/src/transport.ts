/**
 * Sends requests until they are answered: the one place that knows `fetch`, timers and retries.
 */

import { ConnectionFailed, FastpacaError, TimedOut } from './errors.js';
import {
  JSON_TYPE,
  type Answer,
  type Json,
  type Request,
  errorOf,
  isWorthRetrying,
  valueOf,
  waitMs,
} from './protocol.js';

/** How one call is made; what is absent is as the client has it. */
export interface CallOptions {
  /** Ends the call, with the signal's reason as the error. */
  signal?: AbortSignal | undefined;
  /** For how long one try may last. */
  timeoutMs?: number | undefined;
  /** For how long the call may last, all tries and waits together. */
  deadlineMs?: number | undefined;
}

/** What the outer world gives; tests give their own. */
export interface Platform {
  /** Milliseconds of a clock that never falls. */
  now(): number;
  /** A number from 0 up to 1. */
  random(): number;
  /** Wait; reject with the reason of *signal* once it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A key that nobody has made before. */
  key(): string;
}

/** Where requests go, and how. */
export interface TransportOptions {
  base: string;
  headers: Readonly<Record<string, string>>;
  timeoutMs: number;
  deadlineMs: number;
  triesMax: number;
  json: Json;
  fetch: typeof globalThis.fetch;
  platform: Platform;
}

/** One node, or several behind one address. */
export class Transport {
  readonly json: Json;
  readonly platform: Platform;
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.json = options.json;
    this.platform = options.platform;
  }

  /** Send *request*, again where that may help, and give the answer of success. */
  async answer(request: Request, call: CallOptions = {}): Promise<Answer> {
    const { now } = this.platform;
    const timeoutMs = call.timeoutMs ?? this.#options.timeoutMs;
    const end = now() + (call.deadlineMs ?? this.#options.deadlineMs);
    for (let tries = 1; ; tries++) {
      try {
        return await this.#tried(request, call.signal, Math.min(timeoutMs, end - now()));
      } catch (error) {
        if (tries >= this.#options.triesMax) throw error;
        await this.pause(error, tries, end - now(), call.signal);
      }
    }
  }

  /** Send *request* as `answer` does, and read the JSON of its answer. */
  async value<T>(request: Request, call?: CallOptions): Promise<T> {
    return valueOf(await this.answer(request, call), this.json, request.key) as T;
  }

  /** Send *request* once, and give the answer of success as soon as its headers are there. */
  async opened(request: Request, signal: AbortSignal): Promise<Response> {
    const limit = new Limit(signal, this.#options.timeoutMs);
    try {
      const response = await this.#fetched(request, limit.signal);
      if (isSuccess(response.status)) return response;
      throw this.#errorOf(await whole(response), request);
    } catch (error) {
      throw limit.errorOf(error, request.key);
    } finally {
      limit.lift();
    }
  }

  /** Wait after the try with number *tries*; throw *error* if it is final or time runs out. */
  async pause(error: unknown, tries: number, leftMs: number, signal?: AbortSignal): Promise<void> {
    if (!isTemporary(error)) throw error;
    const ms = waitMs(tries, this.platform.random(), error.retryAfterMs);
    if (ms >= leftMs) throw error;
    await this.platform.sleep(ms, signal);
  }

  async #tried(
    request: Request,
    signal: AbortSignal | undefined,
    timeoutMs: number,
  ): Promise<Answer> {
    const limit = new Limit(signal, timeoutMs);
    let answer: Answer;
    try {
      answer = await whole(await this.#fetched(request, limit.signal));
    } catch (error) {
      throw limit.errorOf(error, request.key);
    } finally {
      limit.lift();
      limit.leave();
    }
    if (isSuccess(answer.status)) return answer;
    throw this.#errorOf(answer, request);
  }

  #fetched(request: Request, signal: AbortSignal): Promise<Response> {
    const { base, headers, fetch } = this.#options;
    const sent: Record<string, string> = { ...headers, Accept: request.accept ?? JSON_TYPE };
    if (request.body !== undefined) sent['Content-Type'] = JSON_TYPE;
    if (request.key !== undefined) sent['Idempotency-Key'] = request.key;
    return fetch(base + request.path, {
      method: request.method,
      headers: sent,
      body: request.body ?? null,
      redirect: 'manual', // a POST that is sent on would arrive as a GET
      signal,
    });
  }

  #errorOf(answer: Answer, request: Request): FastpacaError {
    return errorOf(answer, this.json, request.key);
  }
}

/** A body is always read to its end, so that the connection can serve the next request. */
async function whole(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, text, header: (name) => response.headers.get(name) };
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Tell whether the same request may be answered otherwise the next time. */
export function isTemporary(error: unknown): error is FastpacaError {
  if (error instanceof ConnectionFailed) return true;
  return error instanceof FastpacaError && isWorthRetrying(error.status ?? 0);
}

/** Ends a request when its time is over, or when its caller wants no more. */
class Limit {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #timeoutMs: number;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #end = (): void => this.#controller.abort(this.#caller?.reason);
  #isOver = false;

  constructor(caller: AbortSignal | undefined, timeoutMs: number) {
    caller?.throwIfAborted();
    caller?.addEventListener('abort', this.#end);
    this.#caller = caller;
    this.#timeoutMs = timeoutMs;
    this.#timer = setTimeout(() => this.#ring(), timerMs(timeoutMs));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Let the request take all the time that it needs from now on. */
  lift(): void {
    clearTimeout(this.#timer);
  }

  /** Let the caller's signal end nothing any more. */
  leave(): void {
    this.#caller?.removeEventListener('abort', this.#end);
  }

  /** Say what *error*, met under this limit, was. */
  errorOf(error: unknown, idempotencyKey: string | undefined): unknown {
    if (this.#caller?.aborted) return this.#caller.reason;
    if (error instanceof FastpacaError) return error;
    if (this.#isOver) {
      const message = `No answer came within ${Math.round(this.#timeoutMs)} ms.`;
      return new TimedOut(message, { cause: error, idempotencyKey });
    }
    const message = `The node was not reached, or the connection broke: ${reasonOf(error)}`;
    return new ConnectionFailed(message, { cause: error, idempotencyKey });
  }

  #ring(): void {
    this.#isOver = true;
    this.#controller.abort();
  }
}

/** `fetch` often hides what happened in the cause of a plain "fetch failed". */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

/** Timers take no more than 31 bits: a longer time would be none at all. */
export function timerMs(ms: number): number {
  return Math.min(Math.max(0, ms), 2 ** 31 - 1);
}
