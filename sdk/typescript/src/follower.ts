/**
 * Which frames of many connections a follower is given, so that each comes once. Pure.
 *
 * The frames of one version move the cursor only on the last of them. A connection that breaks in
 * between is resumed from the version before, and the node sends the whole version again. So what
 * was given of versions above the cursor is remembered, and not given twice.
 */

import type { ContextFrame, Frame } from './types.js';

/** Knows what one follower was given. */
export class Follower {
  #cursor: number;
  readonly #given = new Map<string, number>();
  #told: ContextFrame | undefined;
  #isResuming = false;

  constructor(cursor: number) {
    this.#cursor = cursor;
  }

  /** The version up to which everything was given. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Note that another connection takes over. */
  resume(): void {
    this.#isResuming = true;
  }

  /** Tell whether *frame* is new to the follower, and take note of it. */
  take(frame: Frame): boolean {
    const isNew = this.#isNew(frame);
    if (frame.type === 'reset') {
      this.#cursor = frame.cursor;
      this.#given.clear();
      this.#told = undefined;
    } else if (frame.cursor > this.#cursor) {
      this.#cursor = frame.cursor;
      for (const [name, version] of this.#given) {
        if (version <= frame.cursor) this.#given.delete(name);
      }
    }
    return isNew;
  }

  #isNew(frame: Frame): boolean {
    switch (frame.type) {
      case 'message':
      case 'compaction': {
        const name = `${frame.type} ${frame.version}`;
        if (frame.version <= this.#cursor || this.#given.has(name)) return false;
        this.#given.set(name, frame.version);
        return true;
      }
      case 'context': {
        const isRepeated = this.#isResuming && saysTheSame(frame, this.#told);
        this.#isResuming = false;
        this.#told = frame;
        return !isRepeated;
      }
      case 'tombstoned':
      case 'gap':
      case 'reset':
        return true;
      default:
        return false; // of a node that is newer than this release
    }
  }
}

function saysTheSame(frame: ContextFrame, told: ContextFrame | undefined): boolean {
  return (
    told !== undefined &&
    frame.version === told.version &&
    frame.needs_compaction === told.needs_compaction &&
    frame.used_tokens === told.used_tokens &&
    frame.token_budget === told.token_budget
  );
}
