/**
 * Follows a context: one sequence of frames out of as many connections as it takes.
 */

import { ConnectionFailed, TimedOut, UnexpectedAnswer } from './errors.js';
import { EventReader } from './events.js';
import { Follower } from './follower.js';
import { EVENTS_TYPE, type Json, pathOf, queryOf } from './protocol.js';
import { type Transport, timerMs } from './transport.js';
import type { ContextInfo, Frame } from './types.js';

/** How a stream is opened. */
export interface StreamOptions {
  /** The last version that you have processed; 0 replays everything, absent means from now. */
  cursor?: number | undefined;
  /** False leaves out message frames; the cursor moves all the same. */
  includeMessages?: boolean | undefined;
  /** Ends the stream, with the signal's reason as the error. */
  signal?: AbortSignal | undefined;
  /** After so long without a sign of life a connection is given up; a node pings every 30 s. */
  silenceMs?: number | undefined;
}

/** For how long a connection may be silent: one ping may be lost. */
const SILENCE_MS = 75_000;

/** Frames as they come; `return()` ends the stream at any time, also while one is waited for. */
export class Stream implements AsyncIterableIterator<Frame> {
  readonly #transport: Transport;
  readonly #path: string;
  readonly #options: StreamOptions;
  readonly #end = new AbortController();
  readonly #frames: AsyncGenerator<Frame, void>;
  #isLeft = false;

  constructor(transport: Transport, id: string, options: StreamOptions) {
    this.#transport = transport;
    this.#path = pathOf(id);
    this.#options = options;
    this.#frames = this.#untilTheEnd();
  }

  async next(): Promise<IteratorResult<Frame, void>> {
    try {
      return await this.#frames.next();
    } catch (error) {
      if (this.#isLeft) return { done: true, value: undefined };
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Frame, void>> {
    this.#isLeft = true;
    this.#end.abort();
    return this.#frames.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async *#untilTheEnd(): AsyncGenerator<Frame, void> {
    const { signal } = this.#options;
    const end = (): void => this.#end.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener('abort', end);
    try {
      yield* this.#overConnections();
    } finally {
      signal?.removeEventListener('abort', end);
    }
  }

  async *#overConnections(): AsyncGenerator<Frame, void> {
    const follower = new Follower(this.#options.cursor ?? (await this.#versionNow()));
    const opened = { once: false };
    for (let tries = 1; ; tries++) {
      try {
        const isResumed = opened.once;
        for await (const frame of this.#overOneConnection(follower.cursor, opened)) {
          tries = 1; // what breaks next breaks for the first time
          if (follower.take(frame)) yield frame;
          if (frame.type === 'tombstoned') return;
          this.#end.signal.throwIfAborted();
        }
        const { cursor } = follower;
        // The deletion moves no cursor: a node cannot know that it was not told of yet.
        if (isResumed) yield { type: 'tombstoned', version: cursor, cursor };
        return;
      } catch (error) {
        this.#end.signal.throwIfAborted();
        await this.#transport.pause(error, tries, Infinity, this.#end.signal);
      }
      follower.resume();
    }
  }

  /** From now on means from the version of now: a break before the first frame would lose some. */
  async #versionNow(): Promise<number> {
    const request = { method: 'GET', path: this.#path } as const;
    const call = { signal: this.#end.signal };
    return (await this.#transport.value<ContextInfo>(request, call)).version;
  }

  /** Give the frames behind *cursor* until there will be no more; throw when the connection breaks. */
  async *#overOneConnection(
    cursor: number,
    opened: { once: boolean },
  ): AsyncGenerator<Frame, void> {
    const { includeMessages, silenceMs = SILENCE_MS } = this.#options;
    const connection = new AbortController();
    const end = (): void => connection.abort(this.#end.signal.reason);
    this.#end.signal.addEventListener('abort', end);
    try {
      const query = queryOf({ cursor, include_messages: includeMessages });
      const path = `${this.#path}/events${query}`;
      const request = { method: 'GET', path, accept: EVENTS_TYPE } as const;
      const response = await this.#transport.opened(request, connection.signal);
      if (response.status === 204) return;
      opened.once = true;
      for await (const text of textsOf(response, connection, silenceMs)) {
        yield frameOf(text, this.#transport.json);
      }
      throw new ConnectionFailed('The stream was broken off.');
    } finally {
      this.#end.signal.removeEventListener('abort', end);
      connection.abort();
    }
  }
}

/** Give the texts of the events in the body of *response*; give up *connection* when it is silent. */
async function* textsOf(
  response: Response,
  connection: AbortController,
  silenceMs: number,
): AsyncGenerator<string, void> {
  const type = response.headers.get('content-type') ?? '';
  if (!type.startsWith(EVENTS_TYPE) || response.body === null) {
    throw new UnexpectedAnswer(`The answer is no stream of events, but ${type || 'of no type'}.`);
  }
  const pieces = response.body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  for (;;) {
    const piece = await pieceOf(pieces, connection, silenceMs);
    if (piece === undefined) return;
    yield* events.push(decoder.decode(piece, { stream: true }));
  }
}

async function pieceOf(
  pieces: ReadableStreamDefaultReader<Uint8Array>,
  connection: AbortController,
  silenceMs: number,
): Promise<Uint8Array | undefined> {
  const silent = (): void => connection.abort(new TimedOut(`Nothing came for ${silenceMs} ms.`));
  const timer = setTimeout(silent, timerMs(silenceMs));
  try {
    const { value } = await pieces.read();
    return value;
  } catch (cause) {
    if (connection.signal.aborted) throw connection.signal.reason;
    throw new ConnectionFailed('The stream was broken off.', { cause });
  } finally {
    clearTimeout(timer);
  }
}

function frameOf(text: string, json: Json): Frame {
  let frame: unknown;
  try {
    frame = json.parse(text);
  } catch (cause) {
    throw new UnexpectedAnswer('An event is no JSON.', { cause });
  }
  if (typeof (frame as Frame | null)?.cursor === 'number') return frame as Frame;
  throw new UnexpectedAnswer('An event is no frame: it has no cursor.');
}
