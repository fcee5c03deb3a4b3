/**
 * How to write requests and read responses. Pure: no I/O, no clock, no randomness.
 *
 * It is safe to send any request of this package twice: reads, PUT, PATCH and DELETE are idempotent,
 * and writes of the conversation carry an `Idempotency-Key`, under which a node stores the response
 * in the same commit. One rule for retries therefore holds for all of them (`isWorthRetrying`).
 */

import {
  CLASSES,
  FastpacaError,
  InvalidRequest,
  MessageNotFound,
  UnexpectedResponse,
  VersionConflict,
} from './errors.js';

/** 520 to 524 are Cloudflare's own, and 529 says that a service is overloaded. */
export const RETRIED_STATUSES: ReadonlySet<number> = new Set([
  408, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529,
]);

/** Every node refuses longer ids. */
export const ID_BYTES_MAX = 512;
export const KEY_CHARS_MAX = 255;

/**
 * The largest response that is read into memory. A node ends a page at 16 MiB, and no model takes a
 * window larger than this. V8 has no strings above 512 MiB.
 */
export const RESPONSE_BYTES_MAX = 500 * 1024 * 1024;

/** How much of an unreadable response an error quotes. */
const QUOTED_CHARS_MAX = 200;

/** What any HTTP software passes on unchanged: printable ASCII without spaces around it. */
const HEADER_VALUE = /^[!-~](?:[ -~]*[!-~])?$/;
/** What a node accepts as a key: printable ASCII without spaces; commas separate several keys. */
const API_KEY = /^[!-+\--~]+$/;
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The headers that a client sets itself; with an API key, `Authorization` too. */
const OWN_HEADERS = [
  'accept',
  'content-length',
  'content-type',
  'idempotency-key',
  'transfer-encoding',
];

const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

/** Where a node listens by default. */
export const BASE_URL = 'http://127.0.0.1:4000';

export const JSON_TYPE = 'application/json';
export const EVENTS_TYPE = 'text/event-stream';

/** A request to a node; *body* is JSON. */
export interface ClientRequest {
  method: 'GET' | 'PUT' | 'PATCH' | 'POST' | 'DELETE';
  path: string;
  body?: string;
  key?: string;
  /** The content type to ask for; JSON if absent. */
  accept?: string;
}

/** The whole response of a node, or of a proxy in front of it. */
export interface ClientResponse {
  status: number;
  text: string;
  header(name: string): string | null;
}

/** Reads and writes JSON: the runtime's own `JSON`, or one that a caller passes. */
export interface Json {
  parse(text: string): unknown;
  stringify(value: unknown): string;
}

/**
 * Return *baseUrl* in the form that paths are appended to: with `/v1`, without a slash at its end.
 *
 * A page in a browser may pass a path alone, for its own server.
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
    // A user name or key in the address would replace the API key, or `fetch` would refuse it.
    return !url.username && !url.password && url.port !== '0';
  } catch {
    return false;
  }
}

/** Return the path of the context *id*, relative to the base. */
export function pathOf(id: string, rest = ''): string {
  return `/contexts/${encodedId(id, 'context')}${rest}`;
}

/** Return the path of the message *id*, relative to that of its context. */
export function messagePathOf(id: unknown): string {
  return `/messages/${encodedId(id, 'message')}`;
}

function encodedId(id: unknown, of: string): string {
  if (typeof id !== 'string' || id === '' || id === '.' || id === '..' || id.includes('\0')) {
    throw refused(
      `A ${of} id is a string of 1 to 512 bytes without NUL, other than . and ..`,
      'id',
    );
  }
  let encoded: string;
  try {
    encoded = encodeURIComponent(id).replace(/[!'()*]/g, (char) => `%${hexOf(char)}`);
  } catch (cause) {
    throw refused(`A ${of} id cannot contain lone surrogates.`, 'id', cause);
  }
  if (encoded.replace(/%../g, '.').length > ID_BYTES_MAX) {
    throw refused(`A ${of} id has at most ${ID_BYTES_MAX} bytes of UTF-8.`, 'id');
  }
  return encoded;
}

/** All SDKs write a path in the same way, since a proxy may choose a node by it. */
function hexOf(char: string): string {
  return char.charCodeAt(0).toString(16).toUpperCase();
}

/** Return *values* as a query string, without those that are undefined. */
export function queryOf(values: Record<string, string | number | boolean | undefined>): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return '';
  return `?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

/** Return *key* if it can be an Idempotency-Key; throw `InvalidRequest` if not. */
export function checkKey(key: string): string {
  if (typeof key !== 'string' || !HEADER_VALUE.test(key) || key.length > KEY_CHARS_MAX) {
    throw refused(
      `A key is 1 to ${KEY_CHARS_MAX} printable ASCII characters, without spaces around it.`,
      'idempotencyKey',
    );
  }
  return key;
}

/** Refuse headers that can't be sent or that the client sets, without quoting a value. */
export function checkHeaders(headers: Readonly<Record<string, string>>, hasKey: boolean): void {
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name))
      throw refused(`${name} cannot be the name of a header.`, 'headers');
    const lowerName = name.toLowerCase();
    if (OWN_HEADERS.includes(lowerName) || (hasKey && lowerName === 'authorization')) {
      throw refused(`The client sets ${name} itself.`, 'headers');
    }
    if (typeof value !== 'string' || !HEADER_VALUE.test(value)) {
      throw refused(`${name} is not printable ASCII without spaces around it.`, 'headers');
    }
  }
}

/** Refuse a text that can't be an API key, without quoting it. */
export function checkApiKey(apiKey: string): void {
  if (typeof apiKey !== 'string' || !API_KEY.test(apiKey)) {
    throw refused('An API key is printable ASCII without spaces, line ends and commas.', 'apiKey');
  }
}

/** Return the error for an argument that every node would refuse. */
export function refused(message: string, field: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { field, cause });
}

/** Return whether a retry may help after a response with this *status*. */
export function isWorthRetrying(status: number): boolean {
  return RETRIED_STATUSES.has(status);
}

/** Parse a `Retry-After` header: seconds, or a date by the clock of the sender. */
export function retryAfterMs(value: string | null, date: string | null): number | undefined {
  const text = value?.trim() ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : timeOf(text) - timeOf(date ?? '');
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Parse a date in the only form that HTTP senders may write (RFC 9110, 5.6.7). */
function timeOf(text: string): number {
  return HTTP_DATE.test(text) ? Date.parse(text) : NaN;
}

/** Return the error in a *response* without success. */
export function errorOf(response: ClientResponse, json: Json, key?: string): FastpacaError {
  const details = {
    status: response.status,
    requestId: response.header('x-request-id') ?? undefined,
    retryAfterMs: retryAfterMs(response.header('retry-after'), response.header('date')),
    idempotencyKey: key,
  };
  const { error: code, message, ...fields } = fieldsOf(response.text, json);
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new UnexpectedResponse(notUnderstood(response), details);
  }
  const { field } = fields;
  const allDetails = { ...details, fields, ...(typeof field === 'string' && { field }) };
  if (code === MessageNotFound.code && field === 'message_id') {
    return new MessageNotFound(message, allDetails);
  }
  const type = Object.hasOwn(CLASSES, code) ? CLASSES[code] : undefined;
  if (!type || (type === VersionConflict && !hasVersions(fields))) {
    return new FastpacaError(message, { ...allDetails, code });
  }
  return new type(message, allDetails);
}

function hasVersions({ expected, found }: Record<string, unknown>): boolean {
  return Number.isInteger(expected) && Number.isInteger(found);
}

function notUnderstood({ status, text }: ClientResponse): string {
  const quoted = text.length > QUOTED_CHARS_MAX ? `${text.slice(0, QUOTED_CHARS_MAX)} …` : text;
  return `Status ${status}: this is not the response of a fastpaca node: ${JSON.stringify(quoted)}`;
}

function fieldsOf(text: string, json: Json): Record<string, unknown> {
  try {
    const value = json.parse(text);
    return typeof value === 'object' && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Return the JSON of a *response* of success, an object with the field *name*. */
export function valueOf(response: ClientResponse, json: Json, name: string, key?: string): unknown {
  const { status } = response;
  const requestId = response.header('x-request-id') ?? undefined;
  const details = { status, requestId, idempotencyKey: key };
  let value: unknown;
  try {
    value = json.parse(response.text);
  } catch (cause) {
    throw new UnexpectedResponse(notUnderstood(response), { ...details, cause });
  }
  if (typeof value === 'object' && value !== null && Object.hasOwn(value, name)) return value;
  throw new UnexpectedResponse(notUnderstood(response), details);
}

/**
 * Write *value* as JSON.
 *
 * Refuses values that JSON can't represent; `JSON.stringify` would silently make them null.
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
 * Return the JSON texts of the items of the list *name* in the JSON object *text*, unchanged.
 *
 * They can go back to the node exactly as it sent them, even numbers that JavaScript can't hold.
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
        const item = text.slice(start, at).trim();
        if (item !== '') texts.push(item);
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
