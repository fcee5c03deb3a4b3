/**
 * Where a conversation may be cut without parting a tool call from its result. Pure.
 *
 * Reads the same shapes of calls and results as the node does: parts of fastpaca, Anthropic, OpenAI
 * Responses and the AI SDK, and the keys `tool_calls` and `tool_call_id` of OpenAI's chat messages.
 * A result belongs to the nearest earlier unanswered call with its id, since real logs repeat ids.
 */

import type { Message, Part } from './types.js';

type Side = 'call' | 'result' | 'both';

/** A call or a result: its id and its side. */
interface Mark {
  id: string;
  side: Side;
}

const CALL_TYPES = new Set(['tool_call', 'tool_use', 'function_call']);
const RESULT_TYPES = new Set(['tool_result', 'function_call_output']);
const CALL_ID_KEYS = ['tool_call_id', 'call_id', 'id', 'toolCallId'];
const USE_ID_KEYS = ['id', 'tool_call_id', 'call_id', 'toolCallId'];
const RESULT_ID_KEYS = ['tool_use_id', 'tool_call_id', 'call_id', 'toolCallId'];

/**
 * Tell for each of *messages*, and for the end, whether a cut right before it parts nothing.
 *
 * The calls of a step that is still being answered reach to the end, so that a result on its way
 * still finds its call.
 */
export function jointsOf(messages: readonly Message[]): boolean[] {
  const marks = messages.map(marksOf);
  const { answers, open } = paired(marks);
  const step = runningStep(marks);
  const depths = new Array<number>(messages.length + 2).fill(0);
  for (const [call, result] of answers) {
    depths[call + 1]! += 1;
    depths[result + 1]! -= 1;
  }
  for (const call of open) if (call >= step) depths[call + 1]! += 1;
  let depth = 0;
  return depths.slice(0, -1).map((change) => (depth += change) === 0);
}

/** Tell whether *message* opens a turn: from a user, and more than results. */
export function opensTurn(message: Message): boolean {
  if (message.role !== 'user') return false;
  if (typeof message['tool_call_id'] === 'string' && message['tool_call_id'] !== '') return false;
  return message.parts.some((part) => sideOf(part) !== 'result');
}

function paired(marks: readonly Mark[][]): { answers: [number, number][]; open: number[] } {
  const waiting = new Map<string, number[]>();
  const answers: [number, number][] = [];
  marks.forEach((found, at) => {
    for (const { id, side } of found) {
      const calls = waiting.get(id);
      if (side === 'call' && calls) calls.push(at);
      else if (side === 'call') waiting.set(id, [at]);
      const call = side === 'result' ? calls?.pop() : undefined;
      if (call !== undefined) answers.push([call, at]);
    }
  });
  return { answers, open: [...waiting.values()].flat() };
}

/** Find where the step begins that is under way at the end: calls, then some of their results. */
function runningStep(marks: readonly Mark[][]): number {
  let start = marks.length;
  while (start > 0 && isOnly('result', marks[start - 1]!)) start -= 1;
  while (start > 0 && isOnly('call', marks[start - 1]!)) start -= 1;
  return start;
}

function isOnly(side: Side, marks: readonly Mark[]): boolean {
  const sides = marks.map((mark) => mark.side).filter((found) => found !== 'both');
  return sides.length > 0 && sides.every((found) => found === side);
}

function marksOf(message: Message): Mark[] {
  const inKeys = marksOfKeys(message);
  const inParts = message.parts.flatMap(marksOfPart);
  const said = (mark: Mark): boolean =>
    inKeys.some((key) => key.id === mark.id && key.side === mark.side);
  return [...inParts.filter((mark) => !said(mark)), ...inKeys];
}

function marksOfKeys(message: Message): Mark[] {
  const calls = message['tool_calls'];
  const found = (Array.isArray(calls) ? calls : []).map((call) => idIn(call, ['id']));
  const marks = found.flatMap((id): Mark[] => (id === undefined ? [] : [{ id, side: 'call' }]));
  const answered = idIn(message, ['tool_call_id']);
  return answered === undefined ? marks : [...marks, { id: answered, side: 'result' }];
}

function marksOfPart(part: Part): Mark[] {
  const side = sideOf(part);
  if (side === undefined) return [];
  const id = idIn(part, side === 'result' ? RESULT_ID_KEYS : callKeys(part.type));
  return id === undefined ? [] : [{ id, side }];
}

function callKeys(type: string): string[] {
  return type.endsWith('tool_use') ? USE_ID_KEYS : CALL_ID_KEYS;
}

function sideOf(part: Part): Side | undefined {
  const { type } = part;
  if (CALL_TYPES.has(type) || type.endsWith('_tool_use')) return 'call';
  if (type === 'tool-call' || type === 'tool-result') {
    if ('state' in part) return 'both'; // a part of a user interface, of a tool that is named so
    return type === 'tool-call' ? 'call' : 'result';
  }
  if (RESULT_TYPES.has(type) || type.endsWith('_tool_result')) return 'result';
  return type === 'dynamic-tool' || type.startsWith('tool-') ? 'both' : undefined;
}

function idIn(value: unknown, keys: readonly string[]): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const ids = keys.map((key) => (value as Record<string, unknown>)[key]);
  return ids.find((id): id is string => typeof id === 'string' && id !== '');
}
