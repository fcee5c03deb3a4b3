/**
 * Server-sent events out of pieces of text. Pure.
 *
 * Follows the format of the HTML standard: lines end with LF, CR or CRLF, also when a piece ends
 * between the two; an empty line ends an event; an event that the stream breaks off counts for
 * nothing. Only `data` and `retry` are read: a frame holds its cursor itself, and comments are signs
 * of life.
 */

import { UnexpectedAnswer } from './errors.js';

/** The most characters of one event: far more than any message. */
export const EVENT_CHARS_MAX = 500 * 1024 * 1024;

/** Turns pieces of text into the `data` of events. */
export class EventReader {
  /** How long the sender wants readers to wait before they come back, if it said. */
  retryMs: number | undefined;
  readonly #charsMax: number;
  #line = '';
  #data: string[] = [];
  #chars = 0;
  #endedWithCr = false;

  constructor(charsMax = EVENT_CHARS_MAX) {
    this.#charsMax = charsMax;
  }

  /** Take the next *piece*, and give what is whole. */
  push(piece: string): string[] {
    const found: string[] = [];
    let start = this.#endedWithCr && piece[0] === '\n' ? 1 : 0;
    if (piece !== '') this.#endedWithCr = piece.endsWith('\r');
    for (const end of piece.matchAll(/\r\n|\n|\r/g)) {
      if (end.index < start) continue;
      this.#take(this.#line + piece.slice(start, end.index), found);
      this.#line = '';
      start = end.index + end[0].length;
    }
    this.#line += piece.slice(start);
    if (this.#chars + this.#line.length > this.#charsMax) {
      throw new UnexpectedAnswer(`An event has more than ${this.#charsMax} characters.`);
    }
    return found;
  }

  #take(line: string, found: string[]): void {
    if (line === '') {
      if (this.#data.length > 0) found.push(this.#data.join('\n'));
      this.#data = [];
      this.#chars = 0;
      return;
    }
    if (/^retry: ?\d+$/.test(line)) this.retryMs = Number(line.slice(6));
    if (line !== 'data' && !line.startsWith('data:')) return;
    const value = line.slice(line[5] === ' ' ? 6 : 5);
    this.#data.push(value);
    this.#chars += value.length + 1;
  }
}
