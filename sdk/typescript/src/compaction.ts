/**
 * How a window is divided into what a summary replaces and what stays as it is. Pure.
 */

import { jointsOf, opensTurn } from './calls.js';
import { textsOf } from './protocol.js';
import type { LlmContext, Message, NewMessage } from './types.js';

/** What a summary may be: a text, a message, or several. */
export type Summary = string | NewMessage | readonly NewMessage[];

/** Makes a summary of the old messages; *context* is what they were read from. */
export type Summarise = (old: Message[], context: LlmContext) => Summary | Promise<Summary>;

/** A window as one read gives it, with the texts that its messages have in the answer. */
export interface Window {
  context: LlmContext;
  texts: string[];
}

/** From where to where a window is summarised: what is before and behind stays as it is. */
export interface Cut {
  from: number;
  to: number;
}

/** Read the window in *text*, of which *context* is made. */
export function windowOf(context: LlmContext, text: string): Window {
  return { context, texts: textsOf(text, 'messages') };
}

/**
 * Decide what of *messages* is summarised so that at least *keepLast* messages stay.
 *
 * The leading instructions stay too. The cut is at the beginning of a turn if there is one, else
 * inside of one: an agent may work on one task for hours. It never parts a tool call from its
 * result. Nothing is given if that leaves nothing to summarise but an earlier summary.
 */
export function cutOf(messages: readonly Message[], keepLast: number): Cut | undefined {
  const pinned = messages.findIndex(({ role }) => role !== 'system' && role !== 'developer');
  const latest = messages.length - Math.max(keepLast, 0);
  const joints = jointsOf(messages);
  let first: number | undefined;
  let place: number | undefined;
  let turn: number | undefined;
  for (let at = Math.max(pinned, 0); at <= latest; at++) {
    const message = messages[at];
    if (first !== undefined && joints[at]) {
      place = at;
      if (message === undefined || opensTurn(message)) turn = at;
    }
    if (pinned >= 0 && message?.seq !== null) first ??= at;
  }
  const to = turn ?? place;
  return to === undefined ? undefined : { from: pinned, to };
}

/** Tell whether a summary made of *old*, up to *cut*, holds for the window of *now* as well. */
export function isStillTrue(old: Window, cut: Cut, now: Window): boolean {
  const isSame = old.texts.slice(0, cut.to).every((text, at) => text === now.texts[at]);
  return isSame && jointsOf(now.context.messages)[cut.to] === true;
}

/** Give the messages of *summary*. */
export function messagesOf(summary: Summary): readonly NewMessage[] {
  if (typeof summary === 'string') {
    return [{ role: 'user', parts: [{ type: 'text', text: summary } as { type: string }] }];
  }
  return Array.isArray(summary) ? summary : [summary as NewMessage];
}
