/**
 * How requests are written and answers are read. Pure: no I/O, no clock, no randomness.
 *
 * Every request of this package may be sent twice: reads, and PUT, PATCH and DELETE, say the same
 * again, and appends and compactions carry an `Idempotency-Key`, under which a node stores the
 * answer in the same commit. So one rule of retries holds for all of them (`isWorthRetrying`).
 */

import { CLASSES, FastpacaError, InvalidRequest, UnexpectedAnswer } from './errors.js';

/** The longest wait between two tries, a `Retry-After` aside. */
export const BACKOFF_MAX_MS = 5000;

const BACKOFF_FIRST_MS = 100;
const ID_BYTES_MAX = 512;
const KEY = /^[\x20-\x7e]{1,255}$/;
const RETRIED = new Set([408, 429, 502, 503, 504]);

export const JSON_TYPE = 'application/json';
export const EVENTS_TYPE = 'text/event-stream';

/** A request as it goes out; *body* is JSON. */
export interface Request {
  method: 'GET' | 'PUT' | 'PATCH' | 'POST' | 'DELETE';
  path: string;
  body?: string;
  key?: string;
  /** The type of the answer; JSON if absent. */
  accept?: string;
}

/** An answer that has come in whole. */
export interface Answer {
  status: number;
  text: string;
  header(name: string): string | null;
}

/** How JSON is read and written; the runtime's own `JSON` unless a caller has a better one. */
export interface Json {
  parse(text: string): unknown;
  stringify(value: unknown): string;
}

/** Give *baseUrl* in the form that paths are put behind: with `/v1`, without a slash at its end. */
export function baseOf(baseUrl: string): string {
  if (/[?#]/.test(baseUrl)) throw new TypeError(`baseUrl has a query or a fragment: ${baseUrl}`);
  if (/^[a-z][a-z0-9+.-]*:/i.test(baseUrl)) {
    const url = new URL(baseUrl);
    if (!/^https?:$/.test(url.protocol))
      throw new TypeError('baseUrl begins with http:// or https://.');
    if (url.username || url.password)
      throw new TypeError('baseUrl holds no key; use the option apiKey.');
  }
  return `${baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '').replace(/\/+$/, '')}/v1`;
}

/** Give the path of the context *id*, below the base. */
export function pathOf(id: string, rest = ''): string {
  if (typeof id !== 'string' || id === '' || id === '.' || id === '..' || id.includes('\0')) {
    throw refused(
      'A context id is a string of 1 to 512 bytes without NUL, other than . and ..',
      'id',
    );
  }
  let encoded: string;
  try {
    encoded = encodeURIComponent(id);
  } catch (cause) {
    throw refused('A context id holds no lone surrogates.', 'id', cause);
  }
  if (encoded.replace(/%../g, '.').length > ID_BYTES_MAX) {
    throw refused(`A context id has at most ${ID_BYTES_MAX} bytes of UTF-8.`, 'id');
  }
  return `/contexts/${encoded}${rest}`;
}

/** Write *values* as a query, without those that are undefined. */
export function queryOf(values: Record<string, string | number | boolean | undefined>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return '';
  return `?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

/** Refuse a key that no node would take. */
export function checkKey(key: string): string {
  if (!KEY.test(key)) {
    throw refused('A key is 1 to 255 printable ASCII characters.', 'idempotencyKey');
  }
  return key;
}

/** An argument that no node would take, found before anything was sent. */
export function refused(message: string, field: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { field, cause });
}

/** Tell whether an answer of this *status* may be another one the next time. */
export function isWorthRetrying(status: number): boolean {
  return RETRIED.has(status);
}

/**
 * Give the time to wait after the try with number *tries*, the first being 1.
 *
 * What the node asked for is kept to the full; on top comes a random part of a growing time, so
 * that clients that failed together do not come back together.
 */
export function waitMs(tries: number, random: number, askedMs = 0): number {
  return askedMs + random * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (tries - 1));
}

/** Read a `Retry-After` header: seconds, or a date by the clock of who sent it. */
export function retryAfterMs(value: string | null, date: string | null): number | undefined {
  const text = value?.trim() ?? '';
  const isNumber = /^\d+$/.test(text);
  const ms = isNumber ? Number(text) * 1000 : Date.parse(text) - Date.parse(date ?? '');
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Make an error of an *answer* that is not one of success. */
export function errorOf(answer: Answer, json: Json, key?: string): FastpacaError {
  const known = {
    status: answer.status,
    requestId: answer.header('x-request-id') ?? undefined,
    retryAfterMs: retryAfterMs(answer.header('retry-after'), answer.header('date')),
    idempotencyKey: key,
  };
  const { error: code, message, field, ...details } = fieldsOf(answer.text, json);
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new UnexpectedAnswer(
      `The answer is ${answer.status}, and none of a fastpaca node.`,
      known,
    );
  }
  const more = { ...known, details, ...(typeof field === 'string' && { field }) };
  const type = Object.hasOwn(CLASSES, code) ? CLASSES[code] : undefined;
  return type ? new type(message, more) : new FastpacaError(message, { ...more, code });
}

function fieldsOf(text: string, json: Json): Record<string, unknown> {
  try {
    const value = json.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Read the JSON of an answer of success. */
export function valueOf(answer: Answer, json: Json, key?: string): unknown {
  const known = { status: answer.status, idempotencyKey: key };
  let value: unknown;
  try {
    value = json.parse(answer.text);
  } catch (cause) {
    throw new UnexpectedAnswer(`The answer is ${answer.status}, and no JSON.`, {
      ...known,
      cause,
    });
  }
  if (typeof value === 'object' && value !== null) return value;
  throw new UnexpectedAnswer(`The answer is ${answer.status}, and no object.`, known);
}

/**
 * Write *value* as JSON.
 *
 * What JSON does not have is refused: `JSON.stringify` would make null of it without a word.
 */
export function textOf(value: unknown, json: Json): string {
  let text: string;
  try {
    text = json.stringify(value);
  } catch (cause) {
    throw refused(`This cannot be sent as JSON: ${String(cause)}`, '', cause);
  }
  checkValues(value, '');
  return text;
}

function checkValues(value: unknown, path: string): void {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw refused(`JSON has no ${value}.`, path);
  }
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    value.forEach((item, index) => {
      if (item === undefined) throw refused('JSON has no undefined.', `${path}[${index}]`);
      checkValues(item, `${path}[${index}]`);
    });
    return;
  }
  for (const key in value) {
    checkValues((value as Record<string, unknown>)[key], path === '' ? key : `${path}.${key}`);
  }
}

/**
 * Give the texts of the members of the list *name* in the JSON object *text*, as they stand there.
 *
 * What goes back to the node in these texts is what it sent, numbers that JavaScript cannot hold
 * included.
 */
export function textsOf(text: string, name: string): string[] {
  const texts: string[] = [];
  const label = JSON.stringify(name);
  let depth = 0;
  let isInside = false;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      const end = endOfString(text, at);
      if (depth === 1 && !isInside)
        isInside = text.slice(at, end) === label && /^\s*:\s*\[/.test(text.slice(end, end + 64));
      at = end - 1;
    } else if (char === '{' || char === '[') {
      depth += 1;
      if (isInside && depth === 2) start = at + 1;
    } else if (char === '}' || char === ']' || char === ',') {
      if (isInside && depth === 2 && char !== '}') {
        const found = text.slice(start, at).trim();
        if (found !== '') texts.push(found);
        start = at + 1;
      }
      if (char !== ',') depth -= 1;
      if (isInside && depth < 2 && char === ']') return texts;
    }
  }
  return texts;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}
