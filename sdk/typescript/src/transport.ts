/**
 * Sends requests, and retries them: the only module that uses `fetch` and timers.
 */

import { ConnectionFailed, FastpacaError, TimedOut, UnexpectedResponse } from './errors.js';
import { type Retries, type Some, type Timeouts, timeoutsOf, waitMs } from './options.js';
import {
  JSON_TYPE,
  RESPONSE_BYTES_MAX,
  type ClientResponse,
  type Json,
  type ClientRequest,
  errorOf,
  isWorthRetrying,
  valueOf,
} from './protocol.js';

/** The options of one call; absent ones are those of the client. */
export interface CallOptions {
  /** Ends the call; it throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** How long to wait. */
  timeouts?: Some<Timeouts> | undefined;
}

/** Clock, randomness, waits and keys; tests pass their own. */
export interface Platform {
  /** Milliseconds of a monotonic clock. */
  now(): number;
  /** A number from 0 to 1, exclusive. */
  random(): number;
  /** Wait; reject with the reason of *signal* if it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A new unique key. */
  key(): string;
}

/** The options of a transport. */
export interface TransportOptions {
  base: string;
  headers: Readonly<Record<string, string>>;
  timeouts: Timeouts;
  retries: Retries;
  json: Json;
  fetch: typeof globalThis.fetch;
  platform: Platform;
}

/** What limits a wait between two attempts. */
interface Pause {
  /** The time until the deadline of the call. */
  leftMs: number;
  signal?: AbortSignal | undefined;
  /** What a stream has asked for in `retry:`. */
  retryMs?: number | undefined;
}

/** One node, or several at one address. */
export class Transport {
  readonly json: Json;
  readonly platform: Platform;
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.json = options.json;
    this.platform = options.platform;
  }

  /** Send *request*, with retries, and return the response of success. */
  async send(request: ClientRequest, call: CallOptions = {}): Promise<ClientResponse> {
    const { now } = this.platform;
    const { readMs, totalMs } = this.timeoutsOf(call);
    const end = now() + totalMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(request, call.signal, () => Math.min(readMs, end - now()));
      } catch (error) {
        if (attempt >= this.#options.retries.attemptsMax) throw error;
        await this.pause(error, attempt, { leftMs: end - now(), signal: call.signal });
      }
    }
  }

  /** Return the timeouts of *call*; absent ones are those of the client. */
  timeoutsOf(call: CallOptions): Timeouts {
    return timeoutsOf(call.timeouts, this.#options.timeouts);
  }

  /** Send *request* with retries, and return its JSON, an object with the field *name*. */
  async value<T>(request: ClientRequest, name: string, call?: CallOptions): Promise<T> {
    return valueOf(await this.send(request, call), this.json, name, request.key) as T;
  }

  /** Send *request* once, and return the response of success as soon as its headers have come. */
  async open(request: ClientRequest, signal: AbortSignal, timeouts: Timeouts): Promise<Response> {
    const limit = new Limit(signal, () => timeouts.streamMs);
    try {
      const response = await this.#fetch(request, limit.signal);
      if (isSuccess(response.status)) return response;
      throw this.#errorOf(await whole(response, limit), request);
    } catch (error) {
      throw limit.errorOf(error, request.key);
    } finally {
      limit.lift();
    }
  }

  /**
   * Wait after the attempt with this number; throw *error* if a retry is useless or too late.
   *
   * A stream's `retryMs` replaces a shorter wait, up to the longest one.
   */
  async pause(
    error: unknown,
    attempt: number,
    { leftMs, signal, retryMs = 0 }: Pause,
  ): Promise<void> {
    if (!isTemporary(error)) throw error;
    const { retries } = this.#options;
    const random = this.platform.random();
    const ms = Math.max(
      waitMs(retries, attempt, random, error.retryAfterMs),
      random * Math.min(retryMs, retries.waitMsMax),
    );
    if (ms >= leftMs) throw error;
    await this.platform.sleep(ms, signal);
  }

  async #attempt(
    request: ClientRequest,
    signal: AbortSignal | undefined,
    leftMs: () => number,
  ): Promise<ClientResponse> {
    const limit = new Limit(signal, leftMs);
    let response: ClientResponse;
    try {
      response = await whole(await this.#fetch(request, limit.signal), limit);
    } catch (error) {
      throw limit.errorOf(error, request.key);
    } finally {
      limit.lift();
      limit.leave();
    }
    if (isSuccess(response.status)) return response;
    throw this.#errorOf(response, request);
  }

  #fetch(request: ClientRequest, signal: AbortSignal): Promise<Response> {
    const { base, headers, fetch } = this.#options;
    const allHeaders: Record<string, string> = { ...headers, Accept: request.accept ?? JSON_TYPE };
    if (request.body !== undefined) allHeaders['Content-Type'] = JSON_TYPE;
    if (request.key !== undefined) allHeaders['Idempotency-Key'] = request.key;
    return fetch(base + request.path, {
      method: request.method,
      headers: allHeaders,
      body: request.body ?? null,
      redirect: 'manual', // `fetch` would repeat a redirected POST as a GET
      signal,
    });
  }

  #errorOf(response: ClientResponse, request: ClientRequest): FastpacaError {
    return errorOf(response, this.json, request.key);
  }
}

/** Read a body to its end, always, so that the connection can serve the next request. */
async function whole(response: Response, limit: Limit): Promise<ClientResponse> {
  limit.renew();
  const text = response.body === null ? await response.text() : await textOf(response.body, limit);
  return { status: response.status, text, header: (name) => response.headers.get(name) };
}

async function textOf(body: ReadableStream<Uint8Array>, limit: Limit): Promise<string> {
  const pieces = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let sizeBytes = 0;
  for (;;) {
    const { value } = await pieces.read();
    if (value === undefined) return text + decoder.decode();
    limit.renew();
    sizeBytes += value.byteLength;
    if (sizeBytes > RESPONSE_BYTES_MAX) {
      await pieces.cancel();
      throw new UnexpectedResponse(`The response is larger than ${RESPONSE_BYTES_MAX} bytes.`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Return whether a retry of the same request may succeed. */
export function isTemporary(error: unknown): error is FastpacaError {
  if (error instanceof ConnectionFailed) return true;
  return error instanceof FastpacaError && isWorthRetrying(error.status ?? 0);
}

/** Ends a request when nothing has come for too long, or when its caller aborts it. */
class Limit {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #leftMs: () => number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timeoutMs = 0;
  readonly #end = (): void => this.#controller.abort(this.#caller?.reason);
  #isTimedOut = false;

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

  /** Restart the timeout: data has come. */
  renew(): void {
    clearTimeout(this.#timer);
    this.#timeoutMs = this.#leftMs();
    this.#timer = setTimeout(() => this.#expire(), timerMs(this.#timeoutMs));
  }

  /** Stop the timeout. */
  lift(): void {
    clearTimeout(this.#timer);
  }

  /** Detach from the caller's signal. */
  leave(): void {
    this.#caller?.removeEventListener('abort', this.#end);
  }

  /** Translate an *error* that was thrown under this limit. */
  errorOf(error: unknown, idempotencyKey: string | undefined): unknown {
    if (this.#caller?.aborted) return this.#caller.reason;
    if (error instanceof FastpacaError) return error;
    if (this.#isTimedOut) {
      const message = `No response came within ${Math.round(this.#timeoutMs)} ms.`;
      return new TimedOut(message, { cause: error, idempotencyKey });
    }
    const message = `The node was not reached, or the connection broke: ${reasonOf(error)}`;
    return new ConnectionFailed(message, { cause: error, idempotencyKey });
  }

  #expire(): void {
    this.#isTimedOut = true;
    this.#controller.abort();
  }
}

/** Return what happened; `fetch` often hides it in the cause of a plain "fetch failed". */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

/** Timers take 31 bits at most; a longer time would fire at once. */
export function timerMs(ms: number): number {
  return Math.min(Math.max(0, ms), 2 ** 31 - 1);
}
