/**
 * One context: what can be done with a conversation.
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
import { VersionConflict } from './errors.js';
import { checkKey, pathOf, queryOf, refused, textOf, valueOf } from './protocol.js';
import { Stream, type StreamOptions } from './stream.js';
import type { CallOptions, Transport } from './transport.js';
import type {
  Appended,
  Compaction,
  ContextInfo,
  LlmContext,
  LogMessage,
  NewMessage,
  Policy,
} from './types.js';

/** The configuration of a context; what is absent stays as it is, or is as the node has it. */
export interface ContextOptions extends CallOptions {
  /** The most tokens that a read of the LLM context gives. */
  budget?: number | undefined;
  /** The share of the budget above which the window is made smaller. */
  trigger?: number | undefined;
  policy?: Policy | Policy['strategy'] | undefined;
  metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** How a write is made. */
export interface WriteOptions extends CallOptions {
  /** Write only if this is the current version. */
  ifVersion?: number | null | undefined;
  /** Your own key, such as one that outlives this process; made up if absent. */
  idempotencyKey?: string | undefined;
}

export interface AppendOptions extends WriteOptions {
  /** Counts for the message instead of the node's own count. */
  tokenCount?: number | undefined;
}

export interface ReadOptions extends CallOptions {
  /** Fit under this budget, for this read. */
  budgetTokens?: number | undefined;
  /** Read only if this is the current version. */
  ifVersion?: number | undefined;
  /** Read the window as it was after this version. */
  atVersion?: number | undefined;
  /** Say in `explained` what became of each message of the log. */
  explain?: boolean | undefined;
}

export interface TailOptions extends CallOptions {
  /** How many of the newest to skip. */
  offset?: number | undefined;
  /** How many to take. */
  limit?: number | undefined;
}

export interface MessagesOptions extends CallOptions {
  /** Where to begin; negative for the newest so many. */
  fromSeq?: number | undefined;
  /** Where to end, inclusive. */
  toSeq?: number | undefined;
  /** Messages in one request. */
  limit?: number | undefined;
}

export interface CompactionsOptions extends CallOptions {
  /** Only those of versions above it. */
  after?: number | undefined;
  /** Compactions in one request. */
  limit?: number | undefined;
}

export interface CompactIfNeededOptions extends CallOptions {
  /** How many of the newest messages stay as they are, if they are not too large. */
  keepLast?: number | undefined;
}

/** How many of the newest messages are kept, unless told otherwise. */
export const KEEP_LAST = 20;

/** How often a compaction is overtaken, in a read or in its write, before it gives up. */
export const CONFLICTS_MAX = 5;

/** A handle of one context. It holds no state of the conversation, and making one asks nothing. */
export class Context {
  readonly id: string;
  readonly #transport: Transport;
  readonly #path: string;

  /** @internal Use `context` of a client. */
  constructor(transport: Transport, id: string) {
    this.id = id;
    this.#transport = transport;
    this.#path = pathOf(id);
  }

  /** Append a message, or several, all or none; give what became of each. */
  async append<M extends NewMessage>(message: M, options?: AppendOptions): Promise<Appended>;
  async append<M extends NewMessage>(
    messages: readonly M[],
    options?: WriteOptions,
  ): Promise<Appended[]>;
  async append(
    given: NewMessage | readonly NewMessage[],
    options: AppendOptions = {},
  ): Promise<Appended | Appended[]> {
    const { ifVersion: if_version, tokenCount } = options;
    if (isMessage(given)) {
      const message = tokenCount === undefined ? given : { ...given, token_count: tokenCount };
      return this.#written<Appended>('/messages', 'seq', { message, if_version }, options);
    }
    if (tokenCount !== undefined) {
      throw refused('Several messages have a token_count each.', 'tokenCount');
    }
    const body = { messages: given, if_version };
    type Batch = { results: Appended[] };
    return (await this.#written<Batch>('/messages', 'results', body, options)).results;
  }

  /** Read the LLM context: what goes to a model. */
  async context(options: ReadOptions = {}): Promise<LlmContext> {
    return this.#read<LlmContext>(this.#windowPath(options), 'messages', options);
  }

  /** Read the LLM context as it was after *version*. */
  async atVersion(version: number, options: ReadOptions = {}): Promise<LlmContext> {
    return this.context({ ...options, atVersion: version });
  }

  /** Make the window exactly *replacement*; the log stays as it is. */
  async compact<M extends NewMessage>(
    replacement: readonly M[],
    options: WriteOptions = {},
  ): Promise<{ version: number }> {
    const body = { replacement, if_version: options.ifVersion };
    return this.#written('/compact', 'version', body, options);
  }

  /**
   * Put a summary in the place of the old messages, if the window is above its trigger.
   *
   * The leading instructions and the newest messages stay: at least `keepLast` of them, or fewer if
   * these take more than half of the tokens that the instructions leave up to the trigger. The
   * other half is for the summary. No tool call is parted from its result.
   *
   * What is appended while *summarise* works stays: the window is read again, and what is new goes
   * after the summary. *summarise* is called again only if what it has summarised has changed.
   *
   * Gives null if nothing was to do. Throws `CannotCompact`, having changed nothing, if what has to
   * stay is above the trigger by itself.
   */
  async compactIfNeeded(
    summarise: Summarise,
    options: CompactIfNeededOptions = {},
  ): Promise<{ version: number } | null> {
    const { keepLast = KEEP_LAST, ...call } = options;
    let conflicts = 0;
    const overtaken = (error: unknown): void => {
      conflicts += 1;
      if (!(error instanceof VersionConflict) || conflicts >= CONFLICTS_MAX) throw error;
    };
    let done: { window: Window; cut: Cut; texts: string[] } | undefined;
    for (;;) {
      const window = await this.#windowToCompact(call, overtaken);
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
        return await this.#sent('/compact', 'version', body, call);
      } catch (error) {
        overtaken(error);
      }
    }
  }

  /** Read the newest messages of the log, oldest first. */
  async getTail(options: TailOptions = {}): Promise<LogMessage[]> {
    const path = `/tail${queryOf({ offset: options.offset, limit: options.limit })}`;
    type Page = { messages: LogMessage[] };
    return (await this.#read<Page>(path, 'messages', options)).messages;
  }

  /** Read the log forward, page after page as they are needed. */
  async *messages(options: MessagesOptions = {}): AsyncGenerator<LogMessage, void> {
    const { toSeq, limit } = options;
    let fromSeq = options.fromSeq;
    for (;;) {
      const path = `/messages${queryOf({ from_seq: fromSeq, to_seq: toSeq, limit })}`;
      type Page = { messages: LogMessage[]; version: number };
      const page = await this.#read<Page>(path, 'messages', options);
      yield* page.messages;
      const last = page.messages.at(-1);
      // A page that reaches the end has the version of the context, else that of its last message.
      if (last === undefined || last.seq === toSeq || last.version !== page.version) return;
      fromSeq = last.seq + 1;
    }
  }

  /** Follow the context: every change behind the cursor once, in order, until it is deleted. */
  stream(options: StreamOptions = {}): Stream {
    return new Stream(this.#transport, this.id, options);
  }

  /** Read the configuration of the context, and how far it has come. */
  async info(options: CallOptions = {}): Promise<ContextInfo> {
    return this.#read<ContextInfo>('', 'version', options);
  }

  /** Create the context, or change its configuration. */
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

  /** Merge *changes* into the metadata of the context; a null removes its key. */
  async patchMetadata(
    changes: Readonly<Record<string, unknown>>,
    options: CallOptions = {},
  ): Promise<ContextInfo> {
    const body = textOf({ metadata: changes }, this.#transport.json);
    const path = `${this.#path}/metadata`;
    return this.#transport.value({ method: 'PATCH', path, body }, 'version', options);
  }

  /** Read what has rewritten the window, oldest first, page after page as they are needed. */
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

  /** Delete the context for writing; with `purge` erase its content for good. */
  async delete(options: CallOptions & { purge?: boolean | undefined } = {}): Promise<void> {
    const path = this.#path + queryOf({ purge: options.purge || undefined });
    await this.#transport.answer({ method: 'DELETE', path }, options);
  }

  /** Read the whole window, as texts too; null if it needs no compaction. */
  async #windowToCompact(
    call: CallOptions,
    overtaken: (error: unknown) => void,
  ): Promise<Window | null> {
    for (;;) {
      const first = await this.#window({}, call);
      if (!first.context.needs_compaction) return null;
      if (first.context.fit === 'whole') return first;
      const { version: ifVersion, window_tokens: budgetTokens } = first.context;
      try {
        return await this.#window({ budgetTokens, ifVersion }, call);
      } catch (error) {
        overtaken(error);
      }
    }
  }

  async #window(options: ReadOptions, call: CallOptions): Promise<Window> {
    const path = this.#path + this.#windowPath(options);
    const answer = await this.#transport.answer({ method: 'GET', path }, call);
    const context = valueOf(answer, this.#transport.json, 'messages') as LlmContext;
    return windowOf(context, answer.text);
  }

  #windowPath(options: ReadOptions): string {
    const query = {
      budget_tokens: options.budgetTokens,
      if_version: options.ifVersion,
      at_version: options.atVersion,
      explain: options.explain || undefined,
    };
    return `/context${queryOf(query)}`;
  }

  async #read<T>(path: string, name: string, call: CallOptions): Promise<T> {
    return this.#transport.value({ method: 'GET', path: this.#path + path }, name, call);
  }

  async #written<T>(path: string, name: string, fields: object, options: WriteOptions): Promise<T> {
    return this.#sent(path, name, textOf(fields, this.#transport.json), options);
  }

  async #sent<T>(path: string, name: string, body: string, options: WriteOptions): Promise<T> {
    const key = checkKey(options.idempotencyKey ?? this.#transport.platform.key());
    const request = { method: 'POST', path: this.#path + path, body, key } as const;
    return this.#transport.value(request, name, options);
  }
}

function isMessage(given: NewMessage | readonly NewMessage[]): given is NewMessage {
  return !Array.isArray(given);
}
