/**
 * Every error that a caller can meet, one class each.
 *
 * A class has a stable `code`; match on the class or the code, never on the text of `message`.
 * `instanceof` also holds between the two copies of this package that a program has when one part
 * of it imports the package and another requires it.
 */

const KINDS = Symbol.for('fastpaca.error.kinds');

/** What an error knows beside its message; all of it is optional. */
export interface ErrorDetails {
  status?: number | undefined;
  field?: string | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  idempotencyKey?: string | undefined;
  fields?: Readonly<Record<string, unknown>> | undefined;
  cause?: unknown;
}

/** Something went wrong. Codes that this release does not know have this class itself. */
export class FastpacaError extends Error {
  /** The name under which `instanceof` finds the class in another copy of this package. */
  static readonly kind: string = 'FastpacaError';
  /** The code of the class; empty for the base class, which has any other code. */
  static readonly code: string = '';

  override readonly name: string;
  /** What went wrong, as a word that stays the same: that of the answer, or of this package. */
  readonly code: string;
  /** The HTTP status of the answer; absent if there was none. */
  declare readonly status?: number;
  /** The field of the request that was refused, where one can be named. */
  declare readonly field?: string;
  /** The `X-Request-Id` of the answer, which stands in the log lines of the node. */
  declare readonly requestId?: string;
  /** For how long the sender of the answer asks to wait; absent if it does not say. */
  declare readonly retryAfterMs?: number;
  /** The key that an append or compact was sent with: the same call with it is safe to repeat. */
  declare readonly idempotencyKey?: string;
  /** All fields of the answer but `error` and `message`. */
  readonly fields: Readonly<Record<string, unknown>>;
  declare readonly cause?: unknown;

  constructor(message: string, known: ErrorDetails & { code?: string | undefined } = {}) {
    super(message);
    const type = new.target as typeof FastpacaError;
    this.name = type.kind;
    this.code = known.code ?? type.code;
    this.fields = known.fields ?? {};
    for (const field of FIELDS) {
      if (known[field] !== undefined) Object.assign(this, { [field]: known[field] });
    }
    Object.defineProperty(this, KINDS, { value: kindsOf(type) });
  }

  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    const type = this as typeof FastpacaError;
    // A class that a caller derives is known by its prototype only, like any other.
    if (!Object.hasOwn(type, 'kind'))
      return Function.prototype[Symbol.hasInstance].call(type, value);
    const kinds: unknown = typeof value === 'object' && value !== null && Reflect.get(value, KINDS);
    return Array.isArray(kinds) && kinds.includes(type.kind);
  }
}

const FIELDS = ['status', 'field', 'requestId', 'retryAfterMs', 'idempotencyKey', 'cause'] as const;

function kindsOf(type: typeof FastpacaError): string[] {
  const kinds: string[] = [];
  for (let at: unknown = type; typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (Object.hasOwn(at, 'kind')) kinds.push((at as typeof FastpacaError).kind);
  }
  return kinds;
}

/** The request has a wrong shape or value; `field` says where. */
export class InvalidRequest extends FastpacaError {
  static override readonly kind: string = 'InvalidRequest';
  static override readonly code: string = 'invalid_request';
}

/** The node has API keys, and this one is missing or wrong. */
export class Unauthorized extends FastpacaError {
  static override readonly kind: string = 'Unauthorized';
  static override readonly code: string = 'unauthorized';
}

/** The node does not answer to this origin or host. */
export class Forbidden extends FastpacaError {
  static override readonly kind: string = 'Forbidden';
  static override readonly code: string = 'forbidden';
}

/** There is no context with this id. */
export class ContextNotFound extends FastpacaError {
  static override readonly kind: string = 'ContextNotFound';
  static override readonly code: string = 'not_found';
}

/** The path is not one of a node. */
export class MethodNotAllowed extends FastpacaError {
  static override readonly kind: string = 'MethodNotAllowed';
  static override readonly code: string = 'method_not_allowed';
}

/** The request did not arrive in time. */
export class RequestTimeout extends FastpacaError {
  static override readonly kind: string = 'RequestTimeout';
  static override readonly code: string = 'request_timeout';
}

/** `ifVersion` is not the current version of the context; nothing has changed. */
export class VersionConflict extends FastpacaError {
  static override readonly kind: string = 'VersionConflict';
  static override readonly code: string = 'conflict';
  /** The version that the call named. */
  readonly expected: number;
  /** The version that the context has. */
  readonly found: number;

  constructor(message: string, known: ErrorDetails = {}) {
    super(message, known);
    this.expected = Number(known.fields?.['expected']);
    this.found = Number(known.fields?.['found']);
  }
}

/** The context was deleted: it can be read and never written again. */
export class Tombstoned extends FastpacaError {
  static override readonly kind: string = 'Tombstoned';
  static override readonly code: string = 'tombstoned';
}

/** The content was erased; its id can never be used again. */
export class Purged extends FastpacaError {
  static override readonly kind: string = 'Purged';
  static override readonly code: string = 'purged';
}

/** The `idempotencyKey` was used before, for another request. */
export class IdempotencyConflict extends FastpacaError {
  static override readonly kind: string = 'IdempotencyConflict';
  static override readonly code: string = 'idempotency_conflict';
}

/** The body is above the limit of the node. */
export class PayloadTooLarge extends FastpacaError {
  static override readonly kind: string = 'PayloadTooLarge';
  static override readonly code: string = 'payload_too_large';
}

/** The body is not taken for JSON. */
export class UnsupportedMediaType extends FastpacaError {
  static override readonly kind: string = 'UnsupportedMediaType';
  static override readonly code: string = 'unsupported_media_type';
}

/** Request line and headers are above the limit of the node. */
export class HeadersTooLarge extends FastpacaError {
  static override readonly kind: string = 'HeadersTooLarge';
  static override readonly code: string = 'headers_too_large';
}

/** Too many requests, until the deadline of the call. */
export class RateLimited extends FastpacaError {
  static override readonly kind: string = 'RateLimited';
  static override readonly code: string = 'rate_limited';
}

/** The node has a defect; `requestId` finds it in the node's log. */
export class InternalError extends FastpacaError {
  static override readonly kind: string = 'InternalError';
  static override readonly code: string = 'internal_error';
}

/** The node could not serve until the deadline of the call; the last attempt changed nothing. */
export class Unavailable extends FastpacaError {
  static override readonly kind: string = 'Unavailable';
  static override readonly code: string = 'unavailable';
}

/** The write may or may not have happened; repeat it with the `idempotencyKey` of this error. */
export class OutcomeUnknown extends FastpacaError {
  static override readonly kind: string = 'OutcomeUnknown';
  static override readonly code: string = 'outcome_unknown';
}

/** No answer came: the node was not reached, or the connection broke. See `cause`. */
export class ConnectionFailed extends FastpacaError {
  static override readonly kind: string = 'ConnectionFailed';
  static override readonly code: string = 'connection_failed';
}

/** No answer came in time. */
export class TimedOut extends ConnectionFailed {
  static override readonly kind: string = 'TimedOut';
  static override readonly code: string = 'timed_out';
}

/** What answered is no fastpaca node, or something between has changed the answer. */
export class UnexpectedAnswer extends FastpacaError {
  static override readonly kind: string = 'UnexpectedAnswer';
  static override readonly code: string = 'unexpected_answer';
}

/** What a compaction has to keep is above the trigger of the window by itself. */
export class CannotCompact extends FastpacaError {
  static override readonly kind: string = 'CannotCompact';
  static override readonly code: string = 'cannot_compact';
  /** The most tokens that the window may have. */
  readonly triggerTokens: number;
  /** What has to stay takes so many. */
  readonly keptTokens: number;

  constructor(message: string, known: ErrorDetails = {}) {
    super(message, known);
    this.triggerTokens = Number(known.fields?.['trigger_tokens']);
    this.keptTokens = Number(known.fields?.['kept_tokens']);
  }
}

/** The classes of all codes that a node answers with. */
export const CLASSES: Readonly<
  Record<string, new (message: string, known: ErrorDetails) => FastpacaError>
> = Object.fromEntries(
  [
    InvalidRequest,
    Unauthorized,
    Forbidden,
    ContextNotFound,
    MethodNotAllowed,
    RequestTimeout,
    VersionConflict,
    Tombstoned,
    Purged,
    IdempotencyConflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    HeadersTooLarge,
    RateLimited,
    InternalError,
    Unavailable,
    OutcomeUnknown,
  ].map((type) => [type.code, type]),
);
