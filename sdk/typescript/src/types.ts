/** What goes over the wire, with the names that it has there. */

/** A piece of a message. Beside its type everything in it is the caller's. */
export interface Part {
  type: string;
  [key: string]: unknown;
}

/** A message to append; any other key is kept and given back. */
export interface NewMessage {
  role: string;
  parts: ReadonlyArray<{ type: string }>;
  id?: unknown;
  metadata?: unknown;
  /** Counts instead of the node's own count. */
  token_count?: number;
}

/** A message of the log; `seq` is null for a synthetic one in an LLM context. */
export interface Message {
  seq: number | null;
  version: number;
  role: string;
  parts: Part[];
  metadata: Record<string, unknown>;
  token_count: number;
  inserted_at: string;
  [key: string]: unknown;
}

/** A message of the log, as `getTail` and `messages` give it. */
export interface LogMessage extends Message {
  seq: number;
}

/** How a window that has grown too large is made smaller. */
export interface Policy {
  strategy: 'last_n' | 'skip_parts' | 'manual' | (string & {});
  config?: Record<string, unknown>;
}

/** The configuration of a context, and how far it has come. */
export interface ContextInfo {
  id: string;
  status: 'active' | 'tombstoned';
  token_budget: number;
  trigger_ratio: number;
  token_factor: number;
  policy: { strategy: string; config: Record<string, unknown> };
  metadata: Record<string, unknown>;
  version: number;
  last_seq: number;
  created_at: string;
  updated_at: string;
}

/** What an append made of a message. */
export interface Appended {
  seq: number;
  version: number;
  token_estimate: number;
  /** What is odd about the message; absent where nothing is. */
  warnings?: AppendWarning[];
}

/** Something odd about a message that was taken all the same. */
export interface AppendWarning {
  code: 'unpaired_result' | 'empty_call_id' | 'unknown_shape';
  /** Where it is in the request, such as `message.parts[0]`. */
  field: string;
}

/** A run of messages of one kind. */
export interface Segment {
  type: 'live' | 'summary';
  from_seq: number;
  to_seq: number;
}

/** The LLM context: what goes to a model. */
export interface LlmContext {
  version: number;
  messages: Message[];
  used_tokens: number;
  needs_compaction: boolean;
  segments: Segment[];
  token_budget: number;
  window_tokens: number;
  fit: 'whole' | 'dropped' | 'cut' | 'empty';
  /** What became of each message of the log, if it was asked for. */
  explained?: Explained[];
}

/** What became of the messages of a range, and what did it. */
export interface Explained {
  from_seq: number;
  to_seq: number;
  state: 'pinned' | 'task' | 'kept' | 'stripped' | 'cut' | 'dropped' | 'summarised' | 'older';
  /** The version whose rewrite did it, or this view; null where nothing was done. */
  by: number | 'view' | null;
}

/** A rewrite of the window, as the history tells it. */
export interface Compaction {
  version: number;
  strategy: string;
  range: Range | null;
  used_tokens_before: number;
  used_tokens_after: number;
  segments: Segment[];
  at: string;
}

/** Seqs from the first to the last of what was changed. */
export interface Range {
  from_seq: number;
  to_seq: number;
}

/** What every frame of a stream has. */
interface FrameBase {
  /** What to resume from once the frame is processed. */
  cursor: number;
}

/** A message was appended. */
export interface MessageFrame extends FrameBase {
  type: 'message';
  version: number;
  seq: number;
  message: LogMessage;
}

/** The window was rewritten, by a compact call (`manual`) or a policy. */
export interface CompactionFrame extends FrameBase {
  type: 'compaction';
  version: number;
  range: Range | null;
  strategy: string;
  used_tokens_before: number;
  used_tokens_after: number;
}

/** What the LLM context has come to. */
export interface ContextFrame extends FrameBase {
  type: 'context';
  version: number;
  needs_compaction: boolean;
  used_tokens: number;
  token_budget: number;
}

/** The context was deleted; the stream ends. */
export interface TombstonedFrame extends FrameBase {
  type: 'tombstoned';
  version: number;
}

/** The versions from `expected` up to the one before `actual` are gone for ever. */
export interface GapFrame extends FrameBase {
  type: 'gap';
  expected: number;
  actual: number;
}

/** The cursor is above the current version: discard what you have and read again. */
export interface ResetFrame extends FrameBase {
  type: 'reset';
  version: number;
}

/** A change of a conversation, as a stream tells it. */
export type Frame =
  MessageFrame | CompactionFrame | ContextFrame | TombstonedFrame | GapFrame | ResetFrame;
