/**
 * Which messages of a window a summary replaces, and which stay. Pure.
 */

import { cutPointsOf } from './groups.js';
import { CannotCompact } from './errors.js';
import { textsOf } from './protocol.js';
import { INSTRUCTION_ROLES } from './shapes.js';
import type { ContextInfo, LlmContext, Message, NewMessage } from './types.js';

/** A summary: a text, a message, or several messages. */
export type Summary = string | NewMessage | readonly NewMessage[];

/** Returns a summary of the old messages; *context* is the read that they are from. */
export type Summarise = (old: Message[], context: LlmContext) => Summary | Promise<Summary>;

/** A window as one read returns it, with the JSON text of each message in the response. */
export interface Window {
  context: LlmContext;
  texts: string[];
}

/** The range of messages to summarise; those before and after it stay. */
export interface Cut {
  from: number;
  to: number;
}

/** Return the window of *context*, which was parsed from *text*. */
export function windowOf(context: LlmContext, text: string): Window {
  return { context, texts: textsOf(text, 'messages') };
}

/** Return how many tokens the window of a context may have before it needs compaction. */
export function triggerOf({ token_budget, trigger_ratio }: ContextInfo): number {
  return Math.floor(Number(token_budget) * Number(trigger_ratio));
}

/**
 * Decide which of *messages* to summarise, to get the window to *trigger* tokens or below.
 *
 * The leading instructions stay, and the newest *keepLast* messages, or fewer if these take more
 * than half of the tokens between the instructions and the trigger; the other half is for the
 * summary. The cut is at a cut point of the node, before a task message if possible, otherwise
 * inside a turn: an agent may work on one task for hours.
 *
 * Returns undefined if the window is there already, because the configuration has changed since the
 * read. Throws `CannotCompact` if what has to stay is too large for any summary to help.
 */
export function cutOf(
  messages: readonly Message[],
  keepLast: number,
  trigger: number,
): Cut | undefined {
  const size = messages.length;
  const cutPoints = cutPointsOf(messages);
  const leading = indexOr(
    size,
    messages.findIndex(({ role }) => !INSTRUCTION_ROLES.has(role)),
  );
  const from = cutPoints.indexes.find((index) => index >= leading) ?? size;
  const sums = [0];
  for (const { token_count } of messages) sums.push(sums.at(-1)! + Number(token_count));
  const keptTokens = (cut: number): number => sums[size]! - sums[cut]!;
  const room = trigger - sums[from]!;

  const latest = size - Math.max(keepLast, 0);
  const firstLogged = indexOr(
    size,
    messages.findIndex(({ seq }, index) => index >= from && seq !== null),
  );
  const turns = new Set([...cutPoints.taskMessages, size]);
  const isTurn = (cut: number): boolean => turns.has(cut);
  const cuts = cutPoints.indexes.filter((cut) => cut > from && cut <= Math.max(latest, size - 1));
  // To summarise nothing but an earlier summary helps only if that one was too long.
  const fresh = cuts.filter((cut) => cut > firstLogged);
  const small = fresh.filter((cut) => keptTokens(cut) <= Math.floor(room / 2));
  const preferred = small.filter((cut) => cut <= latest);
  const any = fresh.length > 0 ? fresh : cuts;
  const to =
    preferred.filter(isTurn).at(-1) ??
    preferred.at(-1) ??
    small.find(isTurn) ??
    small[0] ??
    any.filter((cut) => keptTokens(cut) < room).at(-1);
  if (to === undefined && sums[size]! <= trigger) return undefined;
  if (to === undefined) throw cannotCompact(trigger, sums[from]! + keptTokens(cuts.at(-1) ?? from));
  return { from, to };
}

/** Return *index* as `findIndex` returns it, or *otherwise* for -1. */
function indexOr(otherwise: number, index: number): number {
  return index < 0 ? otherwise : index;
}

function cannotCompact(trigger_tokens: number, kept_tokens: number): CannotCompact {
  const message =
    `No summary can bring the window down to its trigger of ${trigger_tokens} tokens: the ` +
    `instructions and the newest messages that belong together take ${kept_tokens}. ` +
    "Raise the context's budget, or append smaller messages.";
  return new CannotCompact(message, { fields: { trigger_tokens, kept_tokens } });
}

/** Return whether a summary of *old*, for this *cut*, holds for the window of *now* as well. */
export function isStillTrue(old: Window, cut: Cut, now: Window): boolean {
  const isSame = old.texts.slice(0, cut.to).every((text, at) => text === now.texts[at]);
  return isSame && cutPointsOf(now.context.messages).indexes.includes(cut.to);
}

/** Return *summary* as messages. */
export function messagesOf(summary: Summary): readonly NewMessage[] {
  if (typeof summary === 'string') {
    return [{ role: 'user', parts: [{ type: 'text', text: summary } as { type: string }] }];
  }
  return Array.isArray(summary) ? summary : [summary as NewMessage];
}
