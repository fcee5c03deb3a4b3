/**
 * The handle of one context: everything that you can do with a conversation.
 *
 * The file is long because it is every verb of a conversation, with its options.
 */

import {
  type Cut,
  type Summarise,
  type Window,
  cutOf,
  isStillTrue,
  messagesOf,
  triggerOf,
  windowOf,
} from './compaction.js';
import { appendingOf, listedOf } from './appending.js';
import { branchesOf } from './branching.js';
import { restoreBytes } from './bytes.js';
import { VersionConflict } from './errors.js';
import type {
  BatchResponse,
  Format,
  MessageIn,
  MessageOf,
  OpenCalls,
  PlainMessage,
  ProviderView,
  GeminiResponse,
  SingleResponse,
} from './formats.js';
import { checkKey, messagePathOf, pathOf, queryOf, refused, textOf, valueOf } from './protocol.js';
import { Stream, type StreamOptions } from './stream.js';
import type { CallOptions, Transport } from './transport.js';
import type {
  AppendResult,
  Branch,
  Compaction,
  ContextInfo,
  LlmContext,
  LogMessage,
  Policy,
} from './types.js';
import type { TokenUsage } from './usage.js';

/** The configuration of a context; an absent setting keeps its value, or has the node's default. */
export interface ContextOptions extends CallOptions {
  /** The most tokens that a read of the LLM context returns. */
  budget?: number | undefined;
  /** The share of the budget above which the policy shrinks the window. */
  trigger?: number | undefined;
  policy?: Policy | Policy['strategy'] | undefined;
  metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** The options of a write. */
export interface WriteOptions extends CallOptions {
  /** Write only if this is the current version. */
  ifVersion?: number | null | undefined;
  /** A key of your own, for example one that outlives this process; random if absent. */
  idempotencyKey?: string | undefined;
}

/** The options of an append of several messages. */
export interface BatchOptions extends WriteOptions {
  /** The format of the messages; that of a response is known. */
  format?: Format | 'parts' | undefined;
  /** What the provider billed for the call that gave the last message; also its own report. */
  usage?: TokenUsage | object | undefined;
}

/** The options of an append of one message. */
export interface AppendOptions extends BatchOptions {
  /** The token count of the message, in place of the node's own. */
  tokenCount?: number | undefined;
}

/** The options of a put. */
export interface PutOptions extends AppendOptions {
  /** The id; by default that of the message. */
  id?: string | undefined;
}

/** The options of a fork. */
export interface ForkOptions extends CallOptions {
  /** The version whose path it begins with; the current one by default. */
  atVersion?: number | undefined;
  /** Its metadata; that of this context by default. */
  metadata?: Readonly<Record<string, unknown>> | undefined;
  /** A key of your own; random if absent. */
  idempotencyKey?: string | undefined;
}

/** Where to go back to: one of the two. */
export interface RewindOptions extends WriteOptions {
  /** The version whose path and window to go back to. */
  toVersion?: number | undefined;
  /** The seq of a message: everything after it leaves the path. */
  toSeq?: number | undefined;
}

export interface ReadOptions extends CallOptions {
  /** Fit the window under this budget instead of the context's own. */
  budgetTokens?: number | undefined;
  /** Read only if this is the current version. */
  ifVersion?: number | undefined;
  /** Read the window as it was after this version. */
  atVersion?: number | undefined;
  /** Fill in `explained`: what happened to each message of the path. */
  explain?: boolean | undefined;
}

/** The options of a read in a format. */
export interface ProviderReadOptions<F extends Format> extends ReadOptions {
  /** The format of the messages. */
  format: F;
  /** What becomes of calls that will not get their result any more; `close` by default. */
  openCalls?: OpenCalls | undefined;
  /** Mark what Anthropic's prompt cache should keep. */
  cache?: boolean | undefined;
}

export interface CompactOptions extends WriteOptions {
  /** The format of the replacement. */
  format?: Format | 'parts' | undefined;
}

export interface TailOptions extends CallOptions {
  /** How many of the newest messages to skip. */
  offset?: number | undefined;
  /** How many messages to read. */
  limit?: number | undefined;
  /** `current` reads the conversation as it is now, in place of the log. */
  path?: 'current' | undefined;
}

export interface MessagesOptions extends CallOptions {
  /** The first seq; -n starts at the n newest messages. */
  fromSeq?: number | undefined;
  /** The last seq. */
  toSeq?: number | undefined;
  /** The number of messages in one request. */
  limit?: number | undefined;
  /** `current` reads the conversation as it is now, each message once, in place of the log. */
  path?: 'current' | undefined;
}

export interface CompactionsOptions extends CallOptions {
  /** Only compactions after this version. */
  after?: number | undefined;
  /** The number of compactions in one request. */
  limit?: number | undefined;
}

export interface CompactIfNeededOptions extends CallOptions {
  /** How many of the newest messages to keep, if they are not too large. */
  keepLast?: number | undefined;
}

/** The options of any read of the LLM context. */
type AnyReadOptions = ReadOptions &
  Partial<Omit<ProviderReadOptions<Format>, 'format'>> & { format?: Format | 'parts' | undefined };

/** How many of the newest messages to keep by default. */
export const KEEP_LAST = 20;

/** A compaction fails at this many conflicts, those of its reads and of its write together. */
export const CONFLICTS_MAX = 5;

/** A handle of one context. It holds no state of the conversation; making one sends nothing. */
export class Context {
  readonly id: string;
  readonly #transport: Transport;
  readonly #path: string;

  /** @internal Use `Client.context`. */
  constructor(transport: Transport, id: string) {
    this.id = id;
    this.#transport = transport;
    this.#path = pathOf(id);
  }

  /**
   * Append a message, or up to 1000, all or none. Retries never append twice.
   *
   * A message is a text of the user, an object with `role` and `parts` or `content`, one of the
   * provider that `format` names, or the response of a provider, which brings its usage.
   */
  async append<M extends PlainMessage | SingleResponse>(
    message: M | string,
    options?: AppendOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult>;
  async append<M extends BatchResponse>(
    response: M,
    options?: BatchOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult[]>;
  async append<M extends PlainMessage>(
    messages: readonly M[],
    options?: BatchOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult[]>;
  async append<M extends GeminiResponse>(
    chunks: readonly M[],
    options?: AppendOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult>;
  async append<F extends Format>(
    messages: readonly MessageIn<F>[],
    options: BatchOptions & { format: F },
  ): Promise<AppendResult[]>;
  async append<F extends Format>(
    message: MessageIn<F> | string,
    options: AppendOptions & { format: F },
  ): Promise<AppendResult>;
  async append(
    appended: unknown,
    options: AppendOptions = {},
  ): Promise<AppendResult | AppendResult[]> {
    const { ifVersion: if_version, tokenCount } = options;
    const { messages, isBatch, format, usage } = appendingOf(
      appended,
      options.format,
      options.usage,
    );
    const path = `/messages${queryOf({ format })}`;
    if (!isBatch) {
      const message = counted(messages[0], tokenCount);
      return this.#write<AppendResult>(path, 'seq', { message, usage, if_version }, options);
    }
    if (tokenCount !== undefined) {
      throw refused('Set token_count in each of several messages.', 'tokenCount');
    }
    type Batch = { results: AppendResult[] };
    const body = { messages, usage, if_version };
    return (await this.#write<Batch>(path, 'results', body, options)).results;
  }

  /**
   * Append a message under its id, or let it take the place of the one that has the id.
   *
   * The log keeps every form; the path and the LLM context have the newest. Use it for a message
   * that grows or is edited. An equal message changes nothing, and retries never write twice.
   */
  async put<M extends PlainMessage | SingleResponse>(
    message: M | string,
    options?: PutOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult>;
  async put<M extends GeminiResponse>(
    chunks: readonly M[],
    options?: PutOptions & { format?: 'parts' | undefined },
  ): Promise<AppendResult>;
  async put<F extends Format>(
    message: MessageIn<F> | string,
    options: PutOptions & { format: F },
  ): Promise<AppendResult>;
  async put(put: unknown, options: PutOptions = {}): Promise<AppendResult> {
    const { messages, isBatch, format, usage } = appendingOf(put, options.format, options.usage);
    if (isBatch) throw refused('Put one message at a time.', 'message');
    const message = counted(messages[0], options.tokenCount);
    const id = options.id ?? message['id'];
    if (id === undefined || id === null) {
      throw refused('Give the message an id, or name one.', 'id');
    }
    const path = messagePathOf(id) + queryOf({ format });
    const body = { message, usage, if_version: options.ifVersion };
    return this.#write(path, 'seq', body, options, 'PUT');
  }

  /** Read the newest message with an id on the path, or else of the log. */
  async get(id: string, options: CallOptions = {}): Promise<LogMessage> {
    return this.#read<LogMessage>(messagePathOf(id), 'seq', options);
  }

  /** Go back: path and window become what they were after a version; the log keeps everything. */
  async rewind(options: RewindOptions): Promise<{ version: number }> {
    const { toVersion: to_version, toSeq: to_seq, ifVersion: if_version } = options;
    if ((to_version === undefined) === (to_seq === undefined)) {
      throw refused('Name either toVersion or toSeq.', 'toVersion');
    }
    return this.#write('/rewind', 'version', { to_version, to_seq, if_version }, options);
  }

  /**
   * Make a new context with the path that this one had after a version, and return its handle.
   *
   * It has the same messages, renumbered from 1, the same window and the same configuration.
   */
  async fork(id: string, options: ForkOptions = {}): Promise<Context> {
    const fork = new Context(this.#transport, id);
    const { atVersion: at_version, metadata } = options;
    await this.#write('/fork', 'version', { id, at_version, metadata }, options);
    return fork;
  }

  /** Read the whole history, and return the ends of the branches that rewinds have left. */
  async branches(options: CallOptions = {}): Promise<Branch[]> {
    const history: Compaction[] = [];
    for await (const entry of this.compactions(options)) history.push(entry);
    return branchesOf(history);
  }

  /** Read the LLM context: the messages to send to a model, in the format of its provider. */
  async context(options?: ReadOptions & { format?: 'parts' | undefined }): Promise<LlmContext>;
  async context<F extends Format, M = MessageOf[F]>(
    options: ProviderReadOptions<F>,
  ): Promise<ProviderView<F, M>>;
  async context(options: AnyReadOptions = {}): Promise<LlmContext | ProviderView<Format>> {
    const path = this.#windowPath(options);
    if (options.format === undefined || options.format === 'parts') {
      if (options.openCalls !== undefined || options.cache) {
        throw refused('Name the format of a provider.', 'format');
      }
      return this.#read<LlmContext>(path, 'messages', options);
    }
    const view = await this.#read<ProviderView<Format>>(path, 'messages', options);
    if (view.format === 'bedrock') restoreBytes(view.messages);
    if (view.format === 'anthropic' || view.format === 'bedrock') view.system ??= [];
    return view;
  }

  /** Read the LLM context as it was after *version*. */
  async atVersion(version: number, options: ReadOptions = {}): Promise<LlmContext> {
    return this.context({ ...options, atVersion: version, format: undefined });
  }

  /** Set the window to exactly *replacement*; the log doesn't change. */
  async compact<M extends PlainMessage>(
    replacement: readonly M[],
    options?: CompactOptions & { format?: 'parts' | undefined },
  ): Promise<{ version: number }>;
  async compact<F extends Format>(
    replacement: readonly MessageIn<F>[],
    options: CompactOptions & { format: F },
  ): Promise<{ version: number }>;
  async compact(
    replacement: readonly unknown[],
    options: CompactOptions = {},
  ): Promise<{ version: number }> {
    const format = options.format === 'parts' ? undefined : options.format;
    const body = {
      replacement: listedOf(replacement, 'replacement'),
      if_version: options.ifVersion,
    };
    return this.#write(`/compact${queryOf({ format })}`, 'version', body, options);
  }

  /**
   * Replace old messages with a summary, if the window is above its trigger.
   *
   * The leading instructions and the newest messages stay: at least `keepLast` of them, or fewer if
   * these take more than half of the tokens between the instructions and the trigger. The other half
   * is for the summary. A tool call is never separated from its result.
   *
   * Messages that are appended while *summarise* runs stay: the window is read again, and new
   * messages go after the summary. *summarise* is called again only if messages that it has
   * summarised have changed.
   *
   * Returns null if there was nothing to do. Throws `CannotCompact`, and changes nothing, if what
   * has to stay is above the trigger by itself.
   */
  async compactIfNeeded(
    summarise: Summarise,
    options: CompactIfNeededOptions = {},
  ): Promise<{ version: number } | null> {
    const { keepLast = KEEP_LAST, ...call } = options;
    let conflicts = 0;
    const countConflict = (error: unknown): void => {
      conflicts += 1;
      if (!(error instanceof VersionConflict) || conflicts >= CONFLICTS_MAX) throw error;
    };
    let done: { window: Window; cut: Cut; texts: string[] } | undefined;
    for (;;) {
      const window = await this.#windowToCompact(call, countConflict);
      if (window === null) return null;
      if (done === undefined || !isStillTrue(done.window, done.cut, window)) {
        const trigger = triggerOf(await this.info(call));
        const cut = cutOf(window.context.messages, keepLast, trigger);
        if (cut === undefined) return null;
        const old = window.context.messages.slice(cut.from, cut.to);
        const summary = messagesOf(await summarise(old, window.context));
        const texts = summary.map((message) => textOf(message, this.#transport.json));
        done = { window, cut, texts };
      }
      const { from, to } = done.cut;
      const texts = [...window.texts.slice(0, from), ...done.texts, ...window.texts.slice(to)];
      const { version } = window.context;
      const body = `{"replacement":[${texts.join(',')}],"if_version":${version}}`;
      try {
        return await this.#send('/compact', 'version', body, call);
      } catch (error) {
        countConflict(error);
      }
    }
  }

  /** Skip the `offset` (0) newest messages and read the next `limit` (100), oldest first. */
  async getTail(options: TailOptions = {}): Promise<LogMessage[]> {
    const { offset, limit } = options;
    const path = `/tail${queryOf({ offset, limit, path: options.path })}`;
    type Page = { messages: LogMessage[] };
    return (await this.#read<Page>(path, 'messages', options)).messages;
  }

  /** Iterate over the log or the path, oldest first, reading pages as they are needed. */
  async *messages(options: MessagesOptions = {}): AsyncGenerator<LogMessage, void> {
    const { toSeq, limit, path: ofPath } = options;
    let fromSeq = options.fromSeq;
    for (;;) {
      const query = queryOf({ from_seq: fromSeq, to_seq: toSeq, limit, path: ofPath });
      type Page = { messages: LogMessage[]; version: number; next?: number | null };
      const page = await this.#read<Page>(`/messages${query}`, 'messages', options);
      yield* page.messages;
      if (ofPath !== undefined) {
        if (typeof page.next !== 'number') return;
        fromSeq = page.next;
        continue;
      }
      const last = page.messages.at(-1);
      // A page has the version of its last message, or the current one at the end of the log.
      if (last === undefined || last.seq === toSeq || last.version !== page.version) return;
      fromSeq = last.seq + 1;
    }
  }

  /** Follow the context: every change after the cursor, once and in order, until its deletion. */
  stream(options: StreamOptions = {}): Stream {
    return new Stream(this.#transport, this.id, options);
  }

  /** Read the context's configuration, version and last seq. */
  async info(options: CallOptions = {}): Promise<ContextInfo> {
    return this.#read<ContextInfo>('', 'version', options);
  }

  /** Create the context, or change the settings that are given. */
  async configure(options: ContextOptions): Promise<ContextInfo> {
    const { budget, trigger, policy, metadata } = options;
    const fields = {
      token_budget: budget,
      trigger_ratio: trigger,
      policy: typeof policy === 'string' ? { strategy: policy } : policy,
      metadata,
    };
    const body = textOf(fields, this.#transport.json);
    return this.#transport.value({ method: 'PUT', path: this.#path, body }, 'version', options);
  }

  /** Merge *changes* into the context's metadata; a value of null removes its key. */
  async patchMetadata(
    changes: Readonly<Record<string, unknown>>,
    options: CallOptions = {},
  ): Promise<ContextInfo> {
    const body = textOf({ metadata: changes }, this.#transport.json);
    const path = `${this.#path}/metadata`;
    return this.#transport.value({ method: 'PATCH', path, body }, 'version', options);
  }

  /** Iterate over the rewrites of the window, oldest first, reading pages as they are needed. */
  async *compactions(options: CompactionsOptions = {}): AsyncGenerator<Compaction, void> {
    let after = options.after;
    for (;;) {
      const path = `/compactions${queryOf({ after, limit: options.limit })}`;
      type Page = { compactions: Compaction[] };
      const page = await this.#read<Page>(path, 'compactions', options);
      yield* page.compactions;
      const last = page.compactions.at(-1);
      if (last === undefined) return;
      after = last.version;
    }
  }

  /** Make the context read-only; with `purge`, erase it permanently. */
  async delete(options: CallOptions & { purge?: boolean | undefined } = {}): Promise<void> {
    const path = this.#path + queryOf({ purge: options.purge || undefined });
    await this.#transport.send({ method: 'DELETE', path }, options);
  }

  /** Read the window without fitting it; null if it needs no compaction. */
  async #windowToCompact(
    call: CallOptions,
    countConflict: (error: unknown) => void,
  ): Promise<Window | null> {
    for (;;) {
      const first = await this.#window({}, call);
      if (!first.context.needs_compaction) return null;
      if (first.context.fit === 'whole') return first;
      const { version: ifVersion, window_tokens: budgetTokens } = first.context;
      try {
        return await this.#window({ budgetTokens, ifVersion }, call);
      } catch (error) {
        countConflict(error);
      }
    }
  }

  async #window(options: ReadOptions, call: CallOptions): Promise<Window> {
    const path = this.#path + this.#windowPath(options);
    const response = await this.#transport.send({ method: 'GET', path }, call);
    const context = valueOf(response, this.#transport.json, 'messages') as LlmContext;
    return windowOf(context, response.text);
  }

  #windowPath(options: AnyReadOptions): string {
    const query = {
      budget_tokens: options.budgetTokens,
      if_version: options.ifVersion,
      at_version: options.atVersion,
      explain: options.explain || undefined,
      format: options.format === 'parts' ? undefined : options.format,
      open_calls: options.openCalls,
      cache: options.cache || undefined,
    };
    return `/context${queryOf(query)}`;
  }

  async #read<T>(path: string, name: string, call: CallOptions): Promise<T> {
    return this.#transport.value({ method: 'GET', path: this.#path + path }, name, call);
  }

  async #write<T>(
    path: string,
    name: string,
    fields: object,
    options: WriteOptions,
    method: 'POST' | 'PUT' = 'POST',
  ): Promise<T> {
    return this.#send(path, name, textOf(fields, this.#transport.json), options, method);
  }

  async #send<T>(
    path: string,
    name: string,
    body: string,
    options: WriteOptions,
    method: 'POST' | 'PUT' = 'POST',
  ): Promise<T> {
    const key = checkKey(options.idempotencyKey ?? this.#transport.platform.key());
    const request = { method, path: this.#path + path, body, key };
    return this.#transport.value(request, name, options);
  }
}

/** Return *message* with a count of the caller's own, if there is one. */
function counted(message: unknown, tokenCount: number | undefined): Record<string, unknown> {
  const fields = message as Record<string, unknown>;
  return tokenCount === undefined ? fields : { ...fields, token_count: tokenCount };
}
