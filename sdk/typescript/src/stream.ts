/**
 * Follows a context: one sequence of frames over as many connections as it takes.
 */

import { ConnectionFailed, TimedOut, UnexpectedResponse } from './errors.js';
import { EventReader } from './events.js';
import { Follower } from './follower.js';
import { EVENTS_TYPE, type Json, pathOf, queryOf } from './protocol.js';
import type { Timeouts } from './options.js';
import { type CallOptions, type Transport, timerMs } from './transport.js';
import type { ContextInfo, Frame } from './types.js';

/** The options of a stream; a `signal` ends it, and then it throws the signal's reason. */
export interface StreamOptions extends CallOptions {
  /** The last version that you processed; 0 replays everything; if absent, it starts now. */
  cursor?: number | undefined;
  /** Whether to receive message frames (default true); the cursor moves either way. */
  includeMessages?: boolean | undefined;
}

/** The integer fields that each frame must have. */
export const NUMBERS: Readonly<Record<Frame['type'], readonly string[]>> = {
  message: ['version', 'seq'],
  rewind: ['version', 'to_version'],
  compaction: ['version', 'used_tokens_before', 'used_tokens_after'],
  context: ['version', 'used_tokens', 'token_budget'],
  tombstoned: ['version'],
  gap: ['expected', 'actual'],
  reset: ['version'],
};

/** The state of a stream's connections. */
interface Connections {
  /** Whether any of them was opened. */
  wereOpened: boolean;
  /** The parser of the newest one, which knows its `retry:`. */
  events: EventReader;
}

/** Frames as they come; `return()` ends the stream at any time, even during a `next()`. */
export class Stream implements AsyncIterableIterator<Frame> {
  readonly #transport: Transport;
  readonly #path: string;
  readonly #options: StreamOptions;
  readonly #timeouts: Timeouts;
  readonly #end = new AbortController();
  readonly #frames: AsyncGenerator<Frame, void>;
  #isReturned = false;

  constructor(transport: Transport, id: string, options: StreamOptions) {
    this.#transport = transport;
    this.#path = pathOf(id);
    this.#options = options;
    this.#timeouts = transport.timeoutsOf(options);
    this.#frames = this.#untilTheEnd();
  }

  async next(): Promise<IteratorResult<Frame, void>> {
    try {
      return await this.#frames.next();
    } catch (error) {
      if (this.#isReturned) return { done: true, value: undefined };
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Frame, void>> {
    this.#isReturned = true;
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
    const connections: Connections = { wereOpened: false, events: new EventReader() };
    for (let attempt = 1; ; attempt++) {
      try {
        const isResumed = connections.wereOpened;
        for await (const frame of this.#overOneConnection(follower.cursor, connections)) {
          attempt = 1; // the connection works, so the next break is the first one
          if (follower.take(frame)) yield frame;
          if (frame.type === 'tombstoned') return;
          this.#end.signal.throwIfAborted();
        }
        const { cursor } = follower;
        // A deletion moves no cursor, so the node can't know that this follower hasn't heard of it.
        if (isResumed) yield { type: 'tombstoned', version: cursor, cursor };
        return;
      } catch (error) {
        this.#end.signal.throwIfAborted();
        const { retryMs } = connections.events;
        const { signal } = this.#end;
        await this.#transport.pause(error, attempt, { leftMs: Infinity, signal, retryMs });
      }
      if (connections.wereOpened) follower.resume();
    }
  }

  /** Resolve "now" once: if each connection did, a break before the first frame would lose some. */
  async #versionNow(): Promise<number> {
    const request = { method: 'GET', path: this.#path } as const;
    const call = { signal: this.#end.signal, timeouts: this.#timeouts };
    return (await this.#transport.value<ContextInfo>(request, 'version', call)).version;
  }

  /** Yield the frames after *cursor* until the deletion; throw when the connection breaks. */
  async *#overOneConnection(cursor: number, connections: Connections): AsyncGenerator<Frame, void> {
    const events = (connections.events = new EventReader());
    const isWhole = this.#options.includeMessages ?? true;
    const connection = new AbortController();
    const end = (): void => connection.abort(this.#end.signal.reason);
    this.#end.signal.addEventListener('abort', end);
    try {
      const query = queryOf({ cursor, include_messages: isWhole ? undefined : false });
      const path = `${this.#path}/events${query}`;
      const request = { method: 'GET', path, accept: EVENTS_TYPE } as const;
      const response = await this.#transport.open(request, connection.signal, this.#timeouts);
      if (response.status === 204) return;
      connections.wereOpened = true;
      for await (const text of textsOf(response, connection, events, this.#timeouts.streamMs)) {
        yield frameOf(text, this.#transport.json);
      }
      throw new ConnectionFailed('The stream broke off.');
    } finally {
      this.#end.signal.removeEventListener('abort', end);
      connection.abort();
    }
  }
}

/** Yield the data of the events in *response*; abort *connection* when nothing comes. */
async function* textsOf(
  response: Response,
  connection: AbortController,
  events: EventReader,
  streamMs: number,
): AsyncGenerator<string, void> {
  const type = response.headers.get('content-type') ?? '';
  if (type.split(';')[0]!.trim().toLowerCase() !== EVENTS_TYPE || response.body === null) {
    throw new UnexpectedResponse(
      `The response is not an event stream, but ${type || 'has no type'}.`,
    );
  }
  const pieces = response.body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const piece = await pieceOf(pieces, connection, streamMs);
    if (piece === undefined) return;
    yield* events.push(decoder.decode(piece, { stream: true }));
  }
}

async function pieceOf(
  pieces: ReadableStreamDefaultReader<Uint8Array>,
  connection: AbortController,
  streamMs: number,
): Promise<Uint8Array | undefined> {
  const silent = (): void => connection.abort(new TimedOut(`Nothing came for ${streamMs} ms.`));
  const timer = setTimeout(silent, timerMs(streamMs));
  try {
    const { value } = await pieces.read();
    return value;
  } catch (cause) {
    if (connection.signal.aborted) throw connection.signal.reason;
    throw new ConnectionFailed('The stream broke off.', { cause });
  } finally {
    clearTimeout(timer);
  }
}

function frameOf(text: string, json: Json): Frame {
  let frame: unknown;
  try {
    frame = json.parse(text);
  } catch (cause) {
    throw new UnexpectedResponse('An event is not JSON.', { cause });
  }
  if (isFrame(frame)) return frame;
  throw new UnexpectedResponse('An event is not a frame of a fastpaca node.');
}

/** Return whether *value* is a frame; one of a type that this release doesn't know needs a cursor. */
function isFrame(value: unknown): value is Frame {
  if (typeof value !== 'object' || value === null) return false;
  const frame = value as Record<string, unknown>;
  const { type } = frame;
  if (typeof type !== 'string' || !Number.isInteger(frame['cursor'])) return false;
  if (!Object.hasOwn(NUMBERS, type)) return true;
  if (type === 'message' && (typeof frame['message'] !== 'object' || frame['message'] === null))
    return false;
  return NUMBERS[type as Frame['type']].every((name) => Number.isInteger(frame[name]));
}
