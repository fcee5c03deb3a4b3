/**
 * How a window is divided into what a summary replaces and what stays as it is. Pure.
 */

import { jointsOf } from './calls.js';
import { CannotCompact } from './errors.js';
import { textsOf } from './protocol.js';
import { INSTRUCTION_ROLES } from './shapes.js';
import type { ContextInfo, LlmContext, Message, NewMessage } from './types.js';

/** What a summary may be: a text, a message, or several. */
export type Summary = string | NewMessage | readonly NewMessage[];

/** Makes a summary of the old messages; *context* is what they were read from. */
export type Summarise = (old: Message[], context: LlmContext) => Summary | Promise<Summary>;

/** A window as one read gives it, with the texts that its messages have in the answer. */
export interface Window {
  context: LlmContext;
  texts: string[];
}

/** From where to where a window is summarised: what is before and after stays as it is. */
export interface Cut {
  from: number;
  to: number;
}

/** Read the window in *text*, of which *context* is made. */
export function windowOf(context: LlmContext, text: string): Window {
  return { context, texts: textsOf(text, 'messages') };
}

/** Give how many tokens the window of a context may have before it needs compaction. */
export function triggerOf({ token_budget, trigger_ratio }: ContextInfo): number {
  return Math.floor(Number(token_budget) * Number(trigger_ratio));
}

/**
 * Decide what of *messages* is summarised, so that the window ends up at or below *trigger* tokens.
 *
 * The leading instructions stay, and the newest *keepLast* messages, or fewer if these take more
 * than half of what the instructions leave of the trigger; the other half is for the summary. The
 * cut is at a place where a node would cut too, before a message that opens a turn if there is one,
 * else inside a turn: an agent may work on one task for hours.
 *
 * Undefined if they are there already, because the configuration was changed since they were read.
 * Throws `CannotCompact` if what has to stay is too large for any summary to help.
 */
export function cutOf(
  messages: readonly Message[],
  keepLast: number,
  trigger: number,
): Cut | undefined {
  const size = messages.length;
  const joints = jointsOf(messages);
  const leading = endOr(
    size,
    messages.findIndex(({ role }) => !INSTRUCTION_ROLES.has(role)),
  );
  const from = joints.places.find((place) => place >= leading) ?? size;
  const sums = [0];
  for (const { token_count } of messages) sums.push(sums.at(-1)! + Number(token_count));
  const kept = (at: number): number => sums[size]! - sums[at]!;
  const room = trigger - sums[from]!;

  const latest = size - Math.max(keepLast, 0);
  const first = endOr(
    size,
    messages.findIndex(({ seq }, at) => at >= from && seq !== null),
  );
  const turns = new Set([...joints.openers, size]);
  const isTurn = (at: number): boolean => turns.has(at);
  const places = joints.places.filter((at) => at > from && at <= Math.max(latest, size - 1));
  // A summary of an earlier summary alone gains something only if that was too long.
  const fresh = places.filter((at) => at > first);
  const small = fresh.filter((at) => kept(at) <= Math.floor(room / 2));
  const asked = small.filter((at) => at <= latest);
  const some = fresh.length > 0 ? fresh : places;
  const to =
    asked.filter(isTurn).at(-1) ??
    asked.at(-1) ??
    small.find(isTurn) ??
    small[0] ??
    some.filter((at) => kept(at) < room).at(-1);
  if (to === undefined && sums[size]! <= trigger) return undefined;
  if (to === undefined) throw cannotCompact(trigger, sums[from]! + kept(places.at(-1) ?? from));
  return { from, to };
}

function endOr(end: number, at: number): number {
  return at < 0 ? end : at;
}

function cannotCompact(trigger_tokens: number, kept_tokens: number): CannotCompact {
  const message =
    `No summary brings the window to its trigger of ${trigger_tokens} tokens: the instructions ` +
    `and the newest messages that belong together take ${kept_tokens}. ` +
    'Raise the budget of the context, or append smaller messages.';
  return new CannotCompact(message, { fields: { trigger_tokens, kept_tokens } });
}

/** Tell whether a summary made of *old*, up to *cut*, holds for the window of *now* as well. */
export function isStillTrue(old: Window, cut: Cut, now: Window): boolean {
  const isSame = old.texts.slice(0, cut.to).every((text, at) => text === now.texts[at]);
  return isSame && jointsOf(now.context.messages).places.includes(cut.to);
}

/** Give the messages of *summary*. */
export function messagesOf(summary: Summary): readonly NewMessage[] {
  if (typeof summary === 'string') {
    return [{ role: 'user', parts: [{ type: 'text', text: summary } as { type: string }] }];
  }
  return Array.isArray(summary) ? summary : [summary as NewMessage];
}
