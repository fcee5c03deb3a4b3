/**
 * Which frames are new to a follower that reconnects, so that it gets each once. Pure.
 *
 * The cursor moves only on the last frame of a version, so after a break in the middle of a version
 * its first frames come again. A `Follower` remembers which frames of versions above the cursor it
 * has had.
 */

import type { ContextFrame, Frame } from './types.js';

/** How far one follower has read. */
export class Follower {
  #cursor: number;
  readonly #seen = new Map<string, number>();
  #state: ContextFrame | undefined;
  #isResuming = false;

  constructor(cursor: number) {
    this.#cursor = cursor;
  }

  /** The version to resume after. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Note that a new connection takes over. */
  resume(): void {
    this.#isResuming = true;
  }

  /** Move on to *frame*, and return whether it is new to the follower. */
  take(frame: Frame): boolean {
    const isNew = this.#isNew(frame);
    if (frame.type === 'reset') {
      this.#cursor = frame.cursor;
      this.#seen.clear();
      this.#state = undefined;
    } else if (frame.cursor > this.#cursor) {
      this.#cursor = frame.cursor;
      for (const [name, version] of this.#seen) {
        if (version <= frame.cursor) this.#seen.delete(name);
      }
    }
    return isNew;
  }

  #isNew(frame: Frame): boolean {
    switch (frame.type) {
      case 'message':
      case 'compaction':
      case 'rewind': {
        const name = `${frame.type} ${frame.version}`;
        if (frame.version <= this.#cursor || this.#seen.has(name)) return false;
        this.#seen.set(name, frame.version);
        return true;
      }
      case 'context': {
        const isRepeated = this.#isResuming && isSameState(frame, this.#state);
        this.#isResuming = false;
        this.#state = frame;
        return !isRepeated;
      }
      case 'tombstoned':
      case 'gap':
      case 'reset':
        return true;
      default:
        return false; // a newer node sends it
    }
  }
}

function isSameState(frame: ContextFrame, state: ContextFrame | undefined): boolean {
  return (
    state !== undefined &&
    frame.version === state.version &&
    frame.needs_compaction === state.needs_compaction &&
    frame.used_tokens === state.used_tokens &&
    frame.token_budget === state.token_budget
  );
}
