/**
 * Keeps the conversations of language-model applications, on a fastpaca node.
 *
 * Start with `createClient`.
 */

export { Client, createClient, type ClientOptions, type ListOptions } from './client.js';
export type { Summarise, Summary } from './compaction.js';
export {
  Context,
  type AppendOptions,
  type BatchOptions,
  type CompactIfNeededOptions,
  type CompactOptions,
  type CompactionsOptions,
  type ContextOptions,
  type ForkOptions,
  type MessagesOptions,
  type ProviderReadOptions,
  type PutOptions,
  type ReadOptions,
  type RewindOptions,
  type TailOptions,
  type WriteOptions,
} from './context.js';
export {
  AlreadyExists,
  CannotCompact,
  ConnectionFailed,
  ContextNotFound,
  FastpacaError,
  Forbidden,
  HeadersTooLarge,
  IdempotencyConflict,
  InternalError,
  InvalidRequest,
  MessageNotFound,
  MethodNotAllowed,
  OutcomeUnknown,
  PayloadTooLarge,
  Purged,
  RateLimited,
  RequestTimeout,
  TimedOut,
  Tombstoned,
  Unauthorized,
  Unavailable,
  UnexpectedResponse,
  UnsupportedMediaType,
  VersionConflict,
} from './errors.js';
export type {
  BatchResponse,
  Format,
  JsonMessage,
  Loss,
  MessageIn,
  MessageOf,
  OpenCalls,
  PlainMessage,
  ProviderView,
  Repair,
  SingleResponse,
} from './formats.js';
export type { Retries, Some, Timeouts } from './options.js';
export type { Json } from './protocol.js';
export { Stream, type StreamOptions } from './stream.js';
export type { CallOptions, Platform } from './transport.js';
export type * from './types.js';
export type { TokenUsage } from './usage.js';
