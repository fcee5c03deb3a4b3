/**
 * How long a client waits, and how often it tries. Pure.
 */

import { InvalidRequest } from './errors.js';

/** How long to wait; `Infinity` is for as long as it takes. */
export interface Timeouts {
  /**
   * For an answer to begin, and for each next piece of it; default 30 s. It counts from the moment
   * of sending, because `fetch` does not tell when a request has gone out.
   */
  readMs: number;
  /** For a call, all attempts and the waits between them together; default 60 s. */
  totalMs: number;
  /** For the next sign of life on a stream; default 75 s. A node gives one every 30 s. */
  streamMs: number;
}

/**
 * How often to try, and how long to wait in between.
 *
 * A wait is a random part of a time that doubles with each attempt, so that clients who failed
 * together do not come back together, on top of what the node asked for in `Retry-After`.
 */
export interface Retries {
  /** How often a request is sent at most; default 10. 1 means no retries. */
  attemptsMax: number;
  /** The time that doubles; default 100 ms. */
  waitMs: number;
  /** What it doubles to; default 5 s. */
  waitMsMax: number;
}

/** Some of the options of *T*; the others are as they were. */
export type Some<T> = { readonly [K in keyof T]?: T[K] | undefined };

export const TIMEOUTS: Readonly<Timeouts> = { readMs: 30_000, totalMs: 60_000, streamMs: 75_000 };
export const RETRIES: Readonly<Retries> = { attemptsMax: 10, waitMs: 100, waitMsMax: 5000 };

/** Put the times in *given* in the place of those in *base*; refuse what could never work. */
export function timeoutsOf(
  given: Some<Timeouts> = {},
  base: Readonly<Timeouts> = TIMEOUTS,
): Timeouts {
  const timeouts = { ...base, ...defined(given) };
  for (const name of ['readMs', 'totalMs', 'streamMs'] as const) {
    if (!(timeouts[name] > 0)) {
      throw new InvalidRequest(`${name} is a number of milliseconds above 0.`, { field: name });
    }
  }
  return timeouts;
}

/** Put what is *given* in the place of the defaults; refuse what could never work. */
export function retriesOf(given: Some<Retries> = {}): Retries {
  const retries = { ...RETRIES, ...defined(given) };
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
 * Give the time to wait after the attempt with number *attempt*, the first being 1.
 *
 * What the node asked for is kept to the full; the random part comes on top.
 */
export function waitMs(retries: Retries, attempt: number, random: number, askedMs = 0): number {
  const doubled = retries.waitMs * 2 ** Math.min(attempt - 1, 60);
  return askedMs + random * Math.min(retries.waitMsMax, doubled);
}

function defined<T extends object>(given: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> };
}
