/** What goes over the wire, with the names that it has there. */

/** A piece of a message. Everything in it except its type belongs to the caller. */
export interface Part {
  type: string;
  [key: string]: unknown;
}

/** A message to append; the node keeps all other keys and returns them. */
export interface NewMessage {
  role: string;
  parts: ReadonlyArray<{ type: string }>;
  id?: unknown;
  metadata?: unknown;
  /** Replaces the node's own count. */
  token_count?: number;
}

/** A message with `content` in place of parts, as OpenAI Chat and Anthropic have it. */
export interface ContentMessage {
  role: string;
  content: unknown;
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
  /** The place that it takes; absent if it revises no message. */
  revises?: number;
  [key: string]: unknown;
}

/** A message of the log, as `getTail` and `messages` return it. */
export interface LogMessage extends Message {
  seq: number;
}

/** How to shrink a window that has grown too large. */
export interface Policy {
  strategy: 'last_n' | 'skip_parts' | 'manual' | (string & {});
  config?: Record<string, unknown>;
}

/** What was reported of the model calls of a context. */
export interface ContextUsage {
  /** The tokens of all prompts; includes the next two. */
  input_tokens: number;
  /** Those that were read from the provider's cache. */
  cached_input_tokens: number;
  /** Those that were written to it. */
  cache_write_tokens: number;
  /** The tokens of all answers. */
  output_tokens: number;
  /**
   * Counted tokens for each token that the provider billed; null until 20 pairs of reports could
   * be compared.
   */
  counted_ratio: number | null;
}

/** A context's configuration, version and last seq, and what was reported of its calls. */
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
  /** The ranges of seqs that the path lies in; absent in lists of contexts. */
  path?: Range[];
  /** Its source, and the version that it began with; null if it is no fork. */
  forked_from: { id: string; version: number } | null;
  usage: ContextUsage;
  created_at: string;
  updated_at: string;
}

/** The seq and version of an appended message, its token count, and what is odd about it. */
export interface AppendResult {
  seq: number;
  version: number;
  token_estimate: number;
  /** Of a message that was put: the place that it takes; absent if it was appended. */
  revises?: number;
  /** What is odd about the message; absent if nothing is. */
  warnings?: AppendWarning[];
}

/** Something odd about a message that was appended all the same. */
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

/** The LLM context: the messages to send to a model. */
export interface LlmContext {
  version: number;
  messages: Message[];
  used_tokens: number;
  needs_compaction: boolean;
  segments: Segment[];
  token_budget: number;
  window_tokens: number;
  fit: 'whole' | 'dropped' | 'cut' | 'empty';
  stable_messages: number;
  /** What happened to each message of the path, if the read asked for it. */
  explained?: Explained[];
}

/** What happened to a range of messages, and why. */
export interface Explained {
  from_seq: number;
  to_seq: number;
  state: 'pinned' | 'task' | 'kept' | 'stripped' | 'cut' | 'dropped' | 'summarised' | 'older';
  /** The version whose rewrite did it, or `view`; null if nothing happened. */
  by: number | 'view' | null;
}

/** The end of a branch that a rewind left. */
export interface Branch {
  /** Its last version; `rewind({ toVersion: branch.version })` goes back to it. */
  version: number;
  /** Where the rewind that left it went. */
  to_version: number;
  /** When that was. */
  at: string;
}

/** A rewrite of the window, by a policy, `compact` or a rewind. */
export interface Compaction {
  version: number;
  strategy: string;
  range: Range | null;
  used_tokens_before: number;
  used_tokens_after: number;
  segments: Segment[];
  at: string;
  /** Of a rewind: the version that it went back to. */
  to_version?: number;
}

/** The first and the last seq of a change, or of a piece of the path. */
export interface Range {
  from_seq: number;
  to_seq: number;
}

/** The fields of every frame. */
interface FrameBase {
  /** What to resume from once you have processed the frame. */
  cursor: number;
}

/** A message was appended, or takes the place that `revises` says. */
export interface MessageFrame extends FrameBase {
  type: 'message';
  version: number;
  seq: number;
  message: LogMessage;
  revises?: number;
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

/** The path became what it was after `to_version`. */
export interface RewindFrame extends FrameBase {
  type: 'rewind';
  version: number;
  to_version: number;
}

/** How full the window is now. */
export interface ContextFrame extends FrameBase {
  type: 'context';
  version: number;
  needs_compaction: boolean;
  used_tokens: number;
  token_budget: number;
}

/** The context was deleted; this is the last frame. */
export interface TombstonedFrame extends FrameBase {
  type: 'tombstoned';
  version: number;
}

/** The versions from `expected` up to the one before `actual` are lost. */
export interface GapFrame extends FrameBase {
  type: 'gap';
  expected: number;
  actual: number;
}

/** The cursor was above the newest version: discard what you have read, and read again. */
export interface ResetFrame extends FrameBase {
  type: 'reset';
  version: number;
}

/** One thing that a follower is sent. */
export type Frame =
  | MessageFrame
  | CompactionFrame
  | RewindFrame
  | ContextFrame
  | TombstonedFrame
  | GapFrame
  | ResetFrame;
