/**
 * The chunks of a stream of Gemini, as the response that they are parts of. Pure.
 *
 * Other providers' packages put a stream together themselves; `@google/genai` yields the chunks
 * alone, each of them a response.
 */

import { type Fields, fieldsOf } from './usage.js';

/** Return whether *fields* are those of a response of Gemini, or of a chunk of its stream. */
export function isGemini(fields: Fields): boolean {
  const has = (key: string): boolean => fields[key] !== undefined;
  return !has('role') && (has('candidates') || has('promptFeedback') || has('usageMetadata'));
}

/**
 * Join the *chunks* of a stream, in their order, to the response that would have come whole.
 *
 * Texts that follow each other become one, and so do thoughts, unless they are signed. The usage
 * and the reason why it ended are those that were sent last.
 */
export function joined(chunks: readonly Fields[]): Fields {
  const whole: Record<string, unknown> = {};
  const candidate: Record<string, unknown> = {};
  const content: Record<string, unknown> = {};
  const parts: Fields[] = [];
  for (const chunk of chunks) {
    Object.assign(whole, present(chunk));
    for (const one of listOf(chunk['candidates'])) {
      const { content: said, ...rest } = one;
      Object.assign(candidate, present(rest));
      const { parts: more, ...keys } = fieldsOf(said);
      Object.assign(content, present(keys));
      parts.push(...listOf(more));
    }
  }
  if (Object.keys(candidate).length === 0 && Object.keys(content).length === 0) return whole;
  return {
    ...whole,
    candidates: [{ ...candidate, content: { ...content, parts: withTextsJoined(parts) } }],
  };
}

function listOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}

function present(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  );
}

function withTextsJoined(parts: readonly Fields[]): Fields[] {
  const made: Fields[] = [];
  for (const part of parts) {
    const before = made.at(-1);
    const isMore = before && isPlain(part) && isPlain(before);
    if (isMore && Boolean(part['thought']) === Boolean(before['thought'])) {
      made[made.length - 1] = { ...before, text: `${before['text']}${part['text']}` };
    } else {
      made.push(part);
    }
  }
  return made;
}

/** Return whether a part is a text, and nothing else: signed ones stay as they are. */
function isPlain(part: Fields): boolean {
  const keys = Object.keys(present(part));
  return 'text' in part && keys.every((key) => key === 'text' || key === 'thought');
}
