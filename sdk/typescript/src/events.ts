/**
 * Parse server-sent events as the HTML standard says, however the text is divided. Pure.
 *
 * Lines end with LF, CR or CRLF, even if a piece ends between the two; an empty line ends an event;
 * an event that the stream breaks off is dropped. Only `data` and `retry` are read: a frame holds
 * its own cursor, and comments only show that the connection is alive.
 */

import { UnexpectedResponse } from './errors.js';

/** The most characters of one event: far more than any message. */
export const EVENT_CHARS_MAX = 500 * 1024 * 1024;

/** Turns pieces of text, as they come, into the `data` of whole events. */
export class EventReader {
  /** How long the server asks readers to wait before they reconnect, if it has said so. */
  retryMs: number | undefined;
  readonly #charsMax: number;
  #line = '';
  #data: string[] = [];
  #chars = 0;
  #endedWithCr = false;

  constructor(charsMax = EVENT_CHARS_MAX) {
    this.#charsMax = charsMax;
  }

  /** Take the next *piece*, and return the data of the events that it completes. */
  push(piece: string): string[] {
    const completed: string[] = [];
    let start = this.#endedWithCr && piece[0] === '\n' ? 1 : 0;
    if (piece !== '') this.#endedWithCr = piece.endsWith('\r');
    for (const end of piece.matchAll(/\r\n|\n|\r/g)) {
      if (end.index < start) continue;
      this.#take(this.#line + piece.slice(start, end.index), completed);
      this.#line = '';
      start = end.index + end[0].length;
    }
    this.#line += piece.slice(start);
    if (this.#chars + this.#line.length > this.#charsMax) {
      throw new UnexpectedResponse(`An event has more than ${this.#charsMax} characters.`);
    }
    return completed;
  }

  #take(line: string, completed: string[]): void {
    if (line === '') {
      if (this.#data.length > 0) completed.push(this.#data.join('\n'));
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
