/**
 * How long a client waits, and how often it tries. Pure.
 */

import { InvalidRequest } from './errors.js';

/** How long to wait; `Infinity` means as long as it takes. */
export interface Timeouts {
  /**
   * For the start of a response, and then for each piece of it; default 30 s. It counts from the
   * call of `fetch`, which doesn't say when it has sent the request.
   */
  readMs: number;
  /** For a call, including all attempts and the waits between them; default 60 s. */
  totalMs: number;
  /** For the next sign of life on a stream; default 75 s. A node sends one every 30 s. */
  streamMs: number;
}

/**
 * How often to try, and how long to wait in between.
 *
 * A wait is what the node asked for in `Retry-After`, plus a random part of a time that doubles
 * with each attempt. The jitter avoids a thundering herd of clients that failed together.
 */
export interface Retries {
  /** How often to send a request at most; default 10. 1 means no retries. */
  attemptsMax: number;
  /** The time that doubles; default 100 ms. */
  waitMs: number;
  /** The longest that it gets; default 5 s. */
  waitMsMax: number;
}

/** Some of the options of *T*; the others keep their values. */
export type Some<T> = { readonly [K in keyof T]?: T[K] | undefined };

export const TIMEOUTS: Readonly<Timeouts> = { readMs: 30_000, totalMs: 60_000, streamMs: 75_000 };
export const RETRIES: Readonly<Retries> = { attemptsMax: 10, waitMs: 100, waitMsMax: 5000 };

/** Return *base* with the times in *own*; refuse values that could never work. */
export function timeoutsOf(
  own: Some<Timeouts> = {},
  base: Readonly<Timeouts> = TIMEOUTS,
): Timeouts {
  const timeouts = { ...base, ...defined(own) };
  for (const name of ['readMs', 'totalMs', 'streamMs'] as const) {
    if (!(timeouts[name] > 0)) {
      throw new InvalidRequest(`${name} is a number of milliseconds above 0.`, { field: name });
    }
  }
  return timeouts;
}

/** Return the defaults with the values in *own*; refuse values that could never work. */
export function retriesOf(own: Some<Retries> = {}): Retries {
  const retries = { ...RETRIES, ...defined(own) };
  const { attemptsMax } = retries;
  if (!(attemptsMax >= 1) || (attemptsMax !== Infinity && attemptsMax % 1 !== 0)) {
    const field = 'attemptsMax';
    throw new InvalidRequest('attemptsMax is a whole number of 1 or more.', { field });
  }
  for (const name of ['waitMs', 'waitMsMax'] as const) {
    if (!(retries[name] >= 0 && retries[name] < Infinity)) {
      throw new InvalidRequest(`${name} is a number of milliseconds, 0 or more.`, { field: name });
    }
  }
  return retries;
}

/**
 * Return how long to wait after an attempt has failed.
 *
 * *attempt* is its number, the first being 1; *jitter* is a random number from 0 to 1; *minMs* is
 * what the node asked for.
 */
export function waitMs(retries: Retries, attempt: number, jitter: number, minMs = 0): number {
  const doubledMs = retries.waitMs * 2 ** Math.min(attempt - 1, 60);
  return minMs + jitter * Math.min(retries.waitMsMax, doubledMs);
}

function defined<T extends object>(options: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> };
}
