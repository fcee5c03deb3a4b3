/** The rules that all SDKs go by, as `tests/wire/rules` has them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { ClientOptions } from '../src/index.js';
import type { Told } from './scripted.js';

export const WIRE = process.env['WIRE'] ?? '../../tests/wire';

export interface Case {
  rule: string;
}

/** An answer as a case tells it; null is a connection that breaks. */
export type Answer = {
  status: number;
  headers?: Record<string, string>;
  retry_after?: string;
  error?: string;
  json?: unknown;
  text?: string;
} | null;

/** Options with the names and units of Python; numbers that JSON lacks are texts. */
export type Options = Record<string, number | string>;

export interface Terms {
  timeouts?: Options;
  retries?: Options;
}

/** Read one file of rules. */
export function rules<T>(name: string): T {
  return JSON.parse(readFileSync(join(WIRE, 'rules', `${name}.json`), 'utf8')) as T;
}

/** Give a name in camel case, with milliseconds for seconds. */
export function named(name: string): string {
  return name
    .replace('seconds', 'ms')
    .replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Give an option in the unit that it has here. */
export function valued(name: string, value: number | string): number {
  return name.includes('seconds') ? Number(value) * 1000 : Number(value);
}

/** Give the options of a client that a case names. */
export function termsOf({ timeouts, retries }: Terms): ClientOptions {
  const taken = (given: Options = {}): object =>
    Object.fromEntries(
      Object.entries(given).map(([name, value]) => [named(name), valued(name, value)]),
    );
  return { timeouts: taken(timeouts), retries: taken(retries) };
}

/** Give the value of a case, which may be a text to be repeated. */
export function repeated(value: unknown, times?: number): unknown {
  return times === undefined ? value : String(value).repeat(times);
}

/** Give an answer for a script, or the error of a connection that breaks. */
export function told(answer: Answer, success: unknown): Told | Error {
  if (answer === null) return new TypeError('fetch failed');
  const headers = { ...answer.headers };
  if (answer.retry_after !== undefined) headers['retry-after'] = answer.retry_after;
  const { status } = answer;
  if (answer.error !== undefined)
    return { status, headers, body: { error: answer.error, message: 'm' } };
  if ('json' in answer) return { status, headers, body: answer.json };
  return { status, headers, body: answer.text ?? JSON.stringify(success) };
}
