/**
 * Follows a context: one sequence of frames out of as many connections as it takes.
 */

import { ConnectionFailed, TimedOut, UnexpectedAnswer } from './errors.js';
import { EventReader } from './events.js';
import { Follower } from './follower.js';
import { EVENTS_TYPE, type Json, pathOf, queryOf } from './protocol.js';
import type { Timeouts } from './options.js';
import { type CallOptions, type Transport, timerMs } from './transport.js';
import type { ContextInfo, Frame } from './types.js';

/** How a stream is opened; a `signal` ends it, with the signal's reason as the error. */
export interface StreamOptions extends CallOptions {
  /** The last version that you have processed; 0 replays everything, absent means from now. */
  cursor?: number | undefined;
  /** False leaves out message frames; the cursor moves all the same. */
  includeMessages?: boolean | undefined;
}

/** The numbers of each frame: without them it is none. */
export const NUMBERS: Readonly<Record<Frame['type'], readonly string[]>> = {
  message: ['version', 'seq'],
  compaction: ['version', 'used_tokens_before', 'used_tokens_after'],
  context: ['version', 'used_tokens', 'token_budget'],
  tombstoned: ['version'],
  gap: ['expected', 'actual'],
  reset: ['version'],
};

/** What is known of the connections of one stream. */
interface Connections {
  /** Whether a node has ever let it in. */
  wereOpened: boolean;
  /** What the newest one said about coming back. */
  events: EventReader;
}

/** Frames as they come; `return()` ends the stream at any time, also while one is waited for. */
export class Stream implements AsyncIterableIterator<Frame> {
  readonly #transport: Transport;
  readonly #path: string;
  readonly #options: StreamOptions;
  readonly #timeouts: Timeouts;
  readonly #end = new AbortController();
  readonly #frames: AsyncGenerator<Frame, void>;
  #isLeft = false;

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
    const connections: Connections = { wereOpened: false, events: new EventReader() };
    for (let attempt = 1; ; attempt++) {
      try {
        const isResumed = connections.wereOpened;
        for await (const frame of this.#overOneConnection(follower.cursor, connections)) {
          attempt = 1; // what breaks next breaks for the first time
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
        const toldMs = connections.events.retryMs;
        const { signal } = this.#end;
        await this.#transport.pause(error, attempt, { leftMs: Infinity, signal, toldMs });
      }
      if (connections.wereOpened) follower.resume();
    }
  }

  /** From now on means from the version of now: a break before the first frame would lose some. */
  async #versionNow(): Promise<number> {
    const request = { method: 'GET', path: this.#path } as const;
    const call = { signal: this.#end.signal, timeouts: this.#timeouts };
    return (await this.#transport.value<ContextInfo>(request, 'version', call)).version;
  }

  /** Give the frames behind *cursor* until there will be no more; throw when the connection breaks. */
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
      const response = await this.#transport.opened(request, connection.signal, this.#timeouts);
      if (response.status === 204) return;
      connections.wereOpened = true;
      for await (const text of textsOf(response, connection, events, this.#timeouts.streamMs)) {
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
  events: EventReader,
  streamMs: number,
): AsyncGenerator<string, void> {
  const type = response.headers.get('content-type') ?? '';
  if (type.split(';')[0]!.trim().toLowerCase() !== EVENTS_TYPE || response.body === null) {
    throw new UnexpectedAnswer(`The answer is no stream of events, but ${type || 'of no type'}.`);
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
  if (isFrame(frame)) return frame;
  throw new UnexpectedAnswer('An event is no frame of a fastpaca node.');
}

/** Of a frame of a later release only the type and the cursor are known. */
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
