/**
 * How requests are written and answers are read. Pure: no I/O, no clock, no randomness.
 *
 * Every request of this package may be sent twice: reads, and PUT, PATCH and DELETE, say the same
 * again, and appends and compactions carry an `Idempotency-Key`, under which a node stores the
 * answer in the same commit. So one rule of retries holds for all of them (`isWorthRetrying`).
 */

import {
  CLASSES,
  FastpacaError,
  InvalidRequest,
  UnexpectedAnswer,
  VersionConflict,
} from './errors.js';

/** 520 to 524 are those of Cloudflare, and 529 says that a service is overloaded. */
export const RETRIED_STATUSES: ReadonlySet<number> = new Set([
  408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529,
]);

/** Longer ids are refused by every node. */
export const ID_BYTES_MAX = 512;
export const KEY_CHARS_MAX = 255;

/**
 * What is read into memory of one answer; a page of a node ends at 16 MiB, and a window that is
 * larger than this fits no model. No text of V8 can be longer than 512 MiB.
 */
export const RESPONSE_BYTES_MAX = 500 * 1024 * 1024;

/** How much is quoted of an answer that nobody understands. */
const SHOWN_CHARS_MAX = 200;

/** What goes through any HTTP as it is: printable ASCII without spaces around it. */
const HEADER_VALUE = /^[!-~](?:[ -~]*[!-~])?$/;
/** What a node takes for a key: printable ASCII without spaces; commas stand between several. */
const API_KEY = /^[!-+\--~]+$/;
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** What a client sets itself; with an API key, `Authorization` too. */
const OWN_HEADERS = [
  'accept',
  'content-length',
  'content-type',
  'idempotency-key',
  'transfer-encoding',
];

const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

/** Where a node listens unless told otherwise. */
export const BASE_URL = 'http://127.0.0.1:4000';

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

/**
 * Give *baseUrl* in the form that paths are appended to: with `/v1`, without a slash at its end.
 *
 * A page may name its own server by a path alone.
 */
export function baseOf(baseUrl: string, isPage = globalThis.location !== undefined): string {
  if (!isAddress(baseUrl) && !(isPage && /^[^?#:]*$/.test(baseUrl))) {
    throw refused(`The address of a node looks like ${BASE_URL}, not ${baseUrl}`, 'baseUrl');
  }
  return `${baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '').replace(/\/+$/, '')}/v1`;
}

function isAddress(text: string): boolean {
  if (typeof text !== 'string' || !/^https?:\/\/[^?#]+$/.test(text)) return false;
  try {
    const url = new URL(text);
    // A user or a key in it would be sent in place of the API key, or refused by `fetch`.
    return !url.username && !url.password && url.port !== '0';
  } catch {
    return false;
  }
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
    encoded = encodeURIComponent(id).replace(/[!'()*]/g, (char) => `%${hexOf(char)}`);
  } catch (cause) {
    throw refused('A context id holds no lone surrogates.', 'id', cause);
  }
  if (encoded.replace(/%../g, '.').length > ID_BYTES_MAX) {
    throw refused(`A context id has at most ${ID_BYTES_MAX} bytes of UTF-8.`, 'id');
  }
  return `/contexts/${encoded}${rest}`;
}

/** The path is that of every SDK, to the letter: a proxy may choose a node by it. */
function hexOf(char: string): string {
  return char.charCodeAt(0).toString(16).toUpperCase();
}

/** Write *values* as a query, without those that are undefined. */
export function queryOf(values: Record<string, string | number | boolean | undefined>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return '';
  return `?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

/** Refuse a key that no node would take. */
export function checkKey(key: string): string {
  if (typeof key !== 'string' || !HEADER_VALUE.test(key) || key.length > KEY_CHARS_MAX) {
    throw refused(
      `A key is 1 to ${KEY_CHARS_MAX} printable ASCII characters, without spaces around it.`,
      'idempotencyKey',
    );
  }
  return key;
}

/** Refuse headers that cannot be sent, or are the client's own, without showing a value. */
export function checkHeaders(headers: Readonly<Record<string, string>>, hasKey: boolean): void {
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) throw refused(`${name} is no name of a header.`, 'headers');
    const own = name.toLowerCase();
    if (OWN_HEADERS.includes(own) || (hasKey && own === 'authorization')) {
      throw refused(`The client sets ${name} itself.`, 'headers');
    }
    if (typeof value !== 'string' || !HEADER_VALUE.test(value)) {
      throw refused(`${name} is not printable ASCII without spaces around it.`, 'headers');
    }
  }
}

/** Refuse a key that no node can have, without showing it. */
export function checkApiKey(apiKey: string): void {
  if (typeof apiKey !== 'string' || !API_KEY.test(apiKey)) {
    throw refused('An API key is printable ASCII without spaces, line ends and commas.', 'apiKey');
  }
}

/** An argument that no node would take, found before anything was sent. */
export function refused(message: string, field: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { field, cause });
}

/** Tell whether an answer of this *status* may be another one the next time. */
export function isWorthRetrying(status: number): boolean {
  return RETRIED_STATUSES.has(status);
}

/** Read a `Retry-After` header: seconds, or a date by the clock of who sent it. */
export function retryAfterMs(value: string | null, date: string | null): number | undefined {
  const text = value?.trim() ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : timeOf(text) - timeOf(date ?? '');
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Read a date in the one form that senders of HTTP may write (RFC 9110, 5.6.7). */
function timeOf(text: string): number {
  return HTTP_DATE.test(text) ? Date.parse(text) : NaN;
}

/** Make an error of an *answer* that is not one of success. */
export function errorOf(answer: Answer, json: Json, key?: string): FastpacaError {
  const known = {
    status: answer.status,
    requestId: answer.header('x-request-id') ?? undefined,
    retryAfterMs: retryAfterMs(answer.header('retry-after'), answer.header('date')),
    idempotencyKey: key,
  };
  const { error: code, message, ...fields } = fieldsOf(answer.text, json);
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new UnexpectedAnswer(notUnderstood(answer), known);
  }
  const { field } = fields;
  const more = { ...known, fields, ...(typeof field === 'string' && { field }) };
  const type = Object.hasOwn(CLASSES, code) ? CLASSES[code] : undefined;
  if (!type || (type === VersionConflict && !hasVersions(fields))) {
    return new FastpacaError(message, { ...more, code });
  }
  return new type(message, more);
}

function hasVersions({ expected, found }: Record<string, unknown>): boolean {
  return Number.isInteger(expected) && Number.isInteger(found);
}

function notUnderstood({ status, text }: Answer): string {
  const shown = text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)} …` : text;
  return `Status ${status}: this is not an answer of a fastpaca node: ${JSON.stringify(shown)}`;
}

function fieldsOf(text: string, json: Json): Record<string, unknown> {
  try {
    const value = json.parse(text);
    return typeof value === 'object' && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Read the JSON of an answer of success, which has the field *name*. */
export function valueOf(answer: Answer, json: Json, name: string, key?: string): unknown {
  const { status } = answer;
  const requestId = answer.header('x-request-id') ?? undefined;
  const known = { status, requestId, idempotencyKey: key };
  let value: unknown;
  try {
    value = json.parse(answer.text);
  } catch (cause) {
    throw new UnexpectedAnswer(notUnderstood(answer), { ...known, cause });
  }
  if (typeof value === 'object' && value !== null && Object.hasOwn(value, name)) return value;
  throw new UnexpectedAnswer(notUnderstood(answer), known);
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
