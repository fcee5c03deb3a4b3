/**
 * Every error that this package throws, one class each.
 *
 * A class has a stable `code`; match on the class or the code, never on the text of `message`.
 * `instanceof` also works between the two copies of this package that a program has when one part
 * of it imports the package and another requires it.
 */

const KINDS = Symbol.for('fastpaca.error.kinds');

/** What an error holds besides its message; all of it is optional. */
export interface ErrorDetails {
  status?: number | undefined;
  field?: string | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  idempotencyKey?: string | undefined;
  fields?: Readonly<Record<string, unknown>> | undefined;
  cause?: unknown;
}

/** Something went wrong. An error with a code that this release doesn't know has this class. */
export class FastpacaError extends Error {
  /** The name under which `instanceof` finds the class in another copy of this package. */
  static readonly kind: string = 'FastpacaError';
  /** The code of the class; empty for the base class, whose errors have any other code. */
  static readonly code: string = '';

  override readonly name: string;
  /** What went wrong, as a stable word: the code in the response, or one of this package. */
  readonly code: string;
  /** The HTTP status of the response; absent if there was none. */
  declare readonly status?: number;
  /** The field of the request that was refused, if there is one to name. */
  declare readonly field?: string;
  /** The `X-Request-Id` of the response; the node writes it in its log lines. */
  declare readonly requestId?: string;
  /** How long the sender of the response asks you to wait; absent if it doesn't say. */
  declare readonly retryAfterMs?: number;
  /** The key of an append or compact: it is safe to make the same call again with this key. */
  declare readonly idempotencyKey?: string;
  /** All fields of the response except `error` and `message`. */
  readonly fields: Readonly<Record<string, unknown>>;
  declare readonly cause?: unknown;

  constructor(message: string, details: ErrorDetails & { code?: string | undefined } = {}) {
    super(message);
    const type = new.target as typeof FastpacaError;
    this.name = type.kind;
    this.code = details.code ?? type.code;
    this.fields = details.fields ?? {};
    for (const field of FIELDS) {
      if (details[field] !== undefined) Object.assign(this, { [field]: details[field] });
    }
    Object.defineProperty(this, KINDS, { value: kindsOf(type) });
  }

  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    const type = this as typeof FastpacaError;
    // A class that a caller derives has no kind of its own; compare prototypes as usual.
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

/** The node doesn't accept this origin or host. */
export class Forbidden extends FastpacaError {
  static override readonly kind: string = 'Forbidden';
  static override readonly code: string = 'forbidden';
}

/** There is no context with this id. */
export class ContextNotFound extends FastpacaError {
  static override readonly kind: string = 'ContextNotFound';
  static override readonly code: string = 'not_found';
}

/** There is no message with this id in this context. */
export class MessageNotFound extends FastpacaError {
  static override readonly kind: string = 'MessageNotFound';
  static override readonly code: string = 'not_found';
}

/** The address is not that of a node. */
export class MethodNotAllowed extends FastpacaError {
  static override readonly kind: string = 'MethodNotAllowed';
  static override readonly code: string = 'method_not_allowed';
}

/** The request did not arrive in time. */
export class RequestTimeout extends FastpacaError {
  static override readonly kind: string = 'RequestTimeout';
  static override readonly code: string = 'request_timeout';
}

/** `ifVersion` is not the current version of the context; nothing was changed. */
export class VersionConflict extends FastpacaError {
  static override readonly kind: string = 'VersionConflict';
  static override readonly code: string = 'conflict';
  /** The version that the call named. */
  readonly expected: number;
  /** The version that the context has. */
  readonly found: number;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details);
    this.expected = Number(details.fields?.['expected']);
    this.found = Number(details.fields?.['found']);
  }
}

/** The context was deleted: it can still be read, but never written again. */
export class Tombstoned extends FastpacaError {
  static override readonly kind: string = 'Tombstoned';
  static override readonly code: string = 'tombstoned';
}

/** The content was erased; its id can never be used again. */
export class Purged extends FastpacaError {
  static override readonly kind: string = 'Purged';
  static override readonly code: string = 'purged';
}

/** A context has the id that a fork was to have. */
export class AlreadyExists extends FastpacaError {
  static override readonly kind: string = 'AlreadyExists';
  static override readonly code: string = 'already_exists';
}

/** The `idempotencyKey` was used before, for another request. */
export class IdempotencyConflict extends FastpacaError {
  static override readonly kind: string = 'IdempotencyConflict';
  static override readonly code: string = 'idempotency_conflict';
}

/** The body is above the node's limit. */
export class PayloadTooLarge extends FastpacaError {
  static override readonly kind: string = 'PayloadTooLarge';
  static override readonly code: string = 'payload_too_large';
}

/** The node doesn't accept the content type of the body. */
export class UnsupportedMediaType extends FastpacaError {
  static override readonly kind: string = 'UnsupportedMediaType';
  static override readonly code: string = 'unsupported_media_type';
}

/** The request line and headers are above the node's limit. */
export class HeadersTooLarge extends FastpacaError {
  static override readonly kind: string = 'HeadersTooLarge';
  static override readonly code: string = 'headers_too_large';
}

/** Too many requests, up to the deadline of the call. */
export class RateLimited extends FastpacaError {
  static override readonly kind: string = 'RateLimited';
  static override readonly code: string = 'rate_limited';
}

/** The node has a defect; `requestId` finds it in the node's log. */
export class InternalError extends FastpacaError {
  static override readonly kind: string = 'InternalError';
  static override readonly code: string = 'internal_error';
}

/** The node was unavailable up to the deadline of the call; the last attempt changed nothing. */
export class Unavailable extends FastpacaError {
  static override readonly kind: string = 'Unavailable';
  static override readonly code: string = 'unavailable';
}

/** The write may or may not have happened; repeat it with the `idempotencyKey` of this error. */
export class OutcomeUnknown extends FastpacaError {
  static override readonly kind: string = 'OutcomeUnknown';
  static override readonly code: string = 'outcome_unknown';
}

/** No response came: the node was not reached, or the connection broke. See `cause`. */
export class ConnectionFailed extends FastpacaError {
  static override readonly kind: string = 'ConnectionFailed';
  static override readonly code: string = 'connection_failed';
}

/** No response came in time. */
export class TimedOut extends ConnectionFailed {
  static override readonly kind: string = 'TimedOut';
  static override readonly code: string = 'timed_out';
}

/** The response is not one of a fastpaca node; is the address right? */
export class UnexpectedResponse extends FastpacaError {
  static override readonly kind: string = 'UnexpectedResponse';
  static override readonly code: string = 'unexpected_response';
}

/** The messages that a compaction has to keep are above the window's trigger by themselves. */
export class CannotCompact extends FastpacaError {
  static override readonly kind: string = 'CannotCompact';
  static override readonly code: string = 'cannot_compact';
  /** The tokens that the window may have. */
  readonly triggerTokens: number;
  /** The tokens of the messages that have to stay. */
  readonly keptTokens: number;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details);
    this.triggerTokens = Number(details.fields?.['trigger_tokens']);
    this.keptTokens = Number(details.fields?.['kept_tokens']);
  }
}

/** The class for each code that a node sends. */
export const CLASSES: Readonly<
  Record<string, new (message: string, details: ErrorDetails) => FastpacaError>
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
    AlreadyExists,
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
