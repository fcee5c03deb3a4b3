/**
 * Sends requests until they are answered: the one place that knows `fetch`, timers and retries.
 */

import { ConnectionFailed, FastpacaError, TimedOut, UnexpectedAnswer } from './errors.js';
import { type Retries, type Some, type Timeouts, timeoutsOf, waitMs } from './options.js';
import {
  JSON_TYPE,
  RESPONSE_BYTES_MAX,
  type Answer,
  type Json,
  type Request,
  errorOf,
  isWorthRetrying,
  valueOf,
} from './protocol.js';

/** How one call is made; what is absent is as the client has it. */
export interface CallOptions {
  /** Ends the call, with the signal's reason as the error. */
  signal?: AbortSignal | undefined;
  /** How long to wait. */
  timeouts?: Some<Timeouts> | undefined;
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
  timeouts: Timeouts;
  retries: Retries;
  json: Json;
  fetch: typeof globalThis.fetch;
  platform: Platform;
}

/** What a wait between two attempts depends on. */
interface Pause {
  leftMs: number;
  signal?: AbortSignal | undefined;
  toldMs?: number | undefined;
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
    const { readMs, totalMs } = this.timeoutsOf(call);
    const end = now() + totalMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#tried(request, call.signal, () => Math.min(readMs, end - now()));
      } catch (error) {
        if (attempt >= this.#options.retries.attemptsMax) throw error;
        await this.pause(error, attempt, { leftMs: end - now(), signal: call.signal });
      }
    }
  }

  /** Give the times of *call*, and those of the client where it names none. */
  timeoutsOf(call: CallOptions): Timeouts {
    return timeoutsOf(call.timeouts, this.#options.timeouts);
  }

  /** Send *request* as `answer` does, and read the JSON of its answer, which has the field *name*. */
  async value<T>(request: Request, name: string, call?: CallOptions): Promise<T> {
    return valueOf(await this.answer(request, call), this.json, name, request.key) as T;
  }

  /** Send *request* once, and give the answer of success as soon as its headers are there. */
  async opened(request: Request, signal: AbortSignal, timeouts: Timeouts): Promise<Response> {
    const limit = new Limit(signal, () => timeouts.streamMs);
    try {
      const response = await this.#fetched(request, limit.signal);
      if (isSuccess(response.status)) return response;
      throw this.#errorOf(await whole(response, limit), request);
    } catch (error) {
      throw limit.errorOf(error, request.key);
    } finally {
      limit.lift();
    }
  }

  /**
   * Wait after the attempt with this number; throw *error* if it is final or time runs out.
   *
   * What a stream told in `retry:` stands in for a shorter wait, up to the longest one.
   */
  async pause(
    error: unknown,
    attempt: number,
    { leftMs, signal, toldMs = 0 }: Pause,
  ): Promise<void> {
    if (!isTemporary(error)) throw error;
    const { retries } = this.#options;
    const random = this.platform.random();
    const ms = Math.max(
      waitMs(retries, attempt, random, error.retryAfterMs),
      random * Math.min(toldMs, retries.waitMsMax),
    );
    if (ms >= leftMs) throw error;
    await this.platform.sleep(ms, signal);
  }

  async #tried(
    request: Request,
    signal: AbortSignal | undefined,
    leftMs: () => number,
  ): Promise<Answer> {
    const limit = new Limit(signal, leftMs);
    let answer: Answer;
    try {
      answer = await whole(await this.#fetched(request, limit.signal), limit);
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
async function whole(response: Response, limit: Limit): Promise<Answer> {
  limit.renew();
  const text = response.body === null ? await response.text() : await textOf(response.body, limit);
  return { status: response.status, text, header: (name) => response.headers.get(name) };
}

async function textOf(body: ReadableStream<Uint8Array>, limit: Limit): Promise<string> {
  const pieces = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for (;;) {
    const { value } = await pieces.read();
    if (value === undefined) return text + decoder.decode();
    limit.renew();
    size += value.byteLength;
    if (size > RESPONSE_BYTES_MAX) {
      await pieces.cancel();
      throw new UnexpectedAnswer(`The answer is larger than ${RESPONSE_BYTES_MAX} bytes.`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Tell whether the same request may be answered otherwise the next time. */
export function isTemporary(error: unknown): error is FastpacaError {
  if (error instanceof ConnectionFailed) return true;
  return error instanceof FastpacaError && isWorthRetrying(error.status ?? 0);
}

/** Ends a request when nothing has come for too long, or when its caller wants no more. */
class Limit {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #leftMs: () => number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timeoutMs = 0;
  readonly #end = (): void => this.#controller.abort(this.#caller?.reason);
  #isOver = false;

  constructor(caller: AbortSignal | undefined, leftMs: () => number) {
    caller?.throwIfAborted();
    caller?.addEventListener('abort', this.#end);
    this.#caller = caller;
    this.#leftMs = leftMs;
    this.renew();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Begin to wait anew: something has come. */
  renew(): void {
    clearTimeout(this.#timer);
    this.#timeoutMs = this.#leftMs();
    this.#timer = setTimeout(() => this.#ring(), timerMs(this.#timeoutMs));
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
