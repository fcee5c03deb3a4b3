/**
 * How a message refers to the tool calls of its conversation, by the table of shapes. Pure.
 *
 * The rules are those of the node, which its `fastpaca/shapes.py` explains.
 */

import * as table from './shapes.js';
import type { Row, Side } from './shapes.js';
import type { Message, Part } from './types.js';

/** What a part is, as far as cuts depend on it. */
export type Shape = Side | 'blank' | 'reasoning' | 'compaction' | 'page' | 'other';

/** A call, a result or an approval at one place of a message. */
export interface ToolReference {
  /** The index of the part; `WHOLE` for the whole message, and less for a key of the message. */
  place: number;
  side: Side;
  /** The id that binds it; empty if it has none. */
  id: string;
  /** The name of its tool; empty if it has none. */
  name: string;
  /** Another id of a call. */
  alias: string;
  /** For an approval request, the id of the call that it is about. */
  link: string;
  /** For a call that holds its own result, whether the result is still missing. */
  isOpen: boolean;
  /** For an approval response, whether it denies the call, and so answers it. */
  denies: boolean;
}

/** A message, read by the table. */
export interface Reading {
  role: string;
  /** Whether it is only in the window, like a summary. */
  isSynthetic: boolean;
  /** The shape of each part. */
  shapes: Shape[];
  /** Its calls, results and approvals: those of parts, then those of keys. */
  toolReferences: ToolReference[];
  opensTurn: boolean;
  /** Whether it has keys with reasoning. */
  hasReasoning: boolean;
  /** Whether it has other counted keys than those of reasoning and calls. */
  hasOtherKeys: boolean;
}

/** The place of a result that is its whole message. */
export const WHOLE = -1;

const IN_KEYS = -2;

type Fields = Readonly<Record<string, unknown>>;

const BY_KEY = new Map(rowsBy('key').map((row) => [row.word, row]));
const BY_TOOL_CALL_ID = rowsBy('toolCallId');
const BY_TYPE = rowsBy('type');
const BY_SUFFIX = rowsBy('suffix');

/** A character that is not white space, by Python's definition. */
const VISIBLE = /[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

function rowsBy(by: Row['by']): Row[] {
  return table.ROWS.filter((row) => row.by === by);
}

/** Return whether *reference* only answers an earlier call or request. */
export function answers({ side }: ToolReference): boolean {
  return side === 'result' || side === 'response';
}

/** Read *message* by the table. */
export function readingOf(message: Message): Reading {
  const shapes: Shape[] = [];
  const inParts: ToolReference[] = [];
  message.parts.forEach((part, place) => {
    const row = rowOf(part);
    shapes.push(row === undefined ? shapeOf(part) : row.side);
    if (row !== undefined) inParts.push(toolReferenceOf(place, part, row));
  });
  const { role } = message;
  const keys = Object.keys(message).filter(
    (key) => !table.STRUCTURAL_KEYS.has(key) && !isNothing(message[key]),
  );
  const toolReferences = joined(inParts, toolReferencesOfKeys(message, inParts));
  const isSeen = shapes.some((shape) => shape !== 'page');
  return {
    role,
    isSynthetic: message.seq === null,
    shapes,
    toolReferences,
    opensTurn: table.USER_ROLES.has(role) && isSeen && !toolReferences.some(answers),
    hasReasoning: keys.some((key) => table.REASONING_KEYS.has(key)),
    hasOtherKeys: keys.some((key) => !isAccountedFor(key)),
  };
}

function isAccountedFor(key: string): boolean {
  if (key === table.CALLS_KEY || key === table.CALL_KEY) return true;
  return table.BOOKKEEPING_KEYS.has(key) || table.REASONING_KEYS.has(key);
}

function rowOf(part: Part): Row | undefined {
  for (const key of Object.keys(part)) {
    const row = BY_KEY.get(key);
    if (row !== undefined && isObject(part[key])) return row;
  }
  const isUi = typeof part['toolCallId'] === 'string';
  const fitting = (rows: Row[], hasType: (row: Row) => boolean): Row | undefined =>
    rows.find((row) => hasType(row) && fits(row, part));
  return (
    (isUi ? fitting(BY_TOOL_CALL_ID, (row) => matches(row.word, part.type)) : undefined) ??
    fitting(BY_TYPE, (row) => row.word === part.type) ??
    (isUi ? undefined : fitting(BY_SUFFIX, (row) => part.type.endsWith(row.word)))
  );
}

function matches(word: string, type: string): boolean {
  return word.endsWith('*') ? type.startsWith(word.slice(0, -1)) : type === word;
}

function fits(row: Row, part: Part): boolean {
  const hasState = typeof part['state'] === 'string';
  if (row.has_state !== undefined && row.has_state !== hasState) return false;
  return (row.needs ?? []).every((key) => textIn(part, key) !== '');
}

function shapeOf(part: Part): Shape {
  const { type } = part;
  const isThought = part[table.REASONING_FLAG] === true;
  if (type === 'text' && !isThought) return isVisible(part, 'text') ? 'other' : 'blank';
  if (table.REASONING_TYPES.has(type)) return 'reasoning';
  if ([...table.REASONING_DATA_KEYS].some((key) => isObject(part[key]))) return 'reasoning';
  if (isThought && typeof part['text'] === 'string') return 'reasoning';
  if (type === table.COMPACTION_TYPE && [...table.COMPACTION_KEYS].some((key) => has(part, key))) {
    return 'compaction';
  }
  const textKey = table.TEXT_KEYS.get(type);
  if (textKey !== undefined) return textKey === '' || isVisible(part, textKey) ? 'other' : 'blank';
  const isPage = [...table.PAGE_PREFIXES].some((prefix) => type.startsWith(prefix));
  return isPage || table.PAGE_TYPES.has(type) ? 'page' : 'other';
}

function isVisible(part: Part, key: string): boolean {
  return VISIBLE.test(textIn(part, key));
}

function toolReferenceOf(place: number, part: Part, row: Row): ToolReference {
  const held = row.by === 'key' ? (part[row.word] as Fields) : part;
  const tool = row.word === 'tool-*' ? part.type.slice('tool-'.length) : '';
  return {
    place,
    side: row.side,
    id: firstIn(held, row.ids),
    name: row.name || tool || firstIn(held, row.names ?? []),
    alias: row.alias === undefined ? '' : textIn(part, row.alias),
    link: row.link === undefined ? '' : textIn(part, row.link),
    isOpen:
      row.has_state === true &&
      row.side === 'both' &&
      !table.ANSWERED_STATES.has(textIn(part, 'state')),
    denies: row.grants !== undefined && part[row.grants] === false,
  };
}

function toolReferencesOfKeys(
  message: Message,
  inParts: readonly ToolReference[],
): ToolReference[] {
  const toolReferences: ToolReference[] = [];
  const listed = message[table.CALLS_KEY];
  for (const call of Array.isArray(listed) ? (listed as unknown[]) : []) {
    if (!isObject(call)) continue;
    const named = isObject(call['function']) ? call['function'] : call;
    toolReferences.push(toolReferenceInKeys('call', textIn(call, 'id'), textIn(named, 'name')));
  }
  const legacy = message[table.CALL_KEY];
  if (isObject(legacy) && !isNothing(legacy)) {
    toolReferences.push(toolReferenceInKeys('call', '', textIn(legacy, 'name')));
  }
  if (table.RESULT_ROLES.has(message.role)) {
    const answered = textIn(message, table.RESULT_ID_KEY);
    if (answered !== '' || !inParts.some(answers)) {
      const name = firstIn(message, table.RESULT_NAME_KEYS);
      toolReferences.push({ ...toolReferenceInKeys('result', answered, name), place: WHOLE });
    }
  }
  return toolReferences;
}

function toolReferenceInKeys(side: Side, id: string, name: string): ToolReference {
  return { place: IN_KEYS, side, id, name, alias: '', link: '', isOpen: false, denies: false };
}

/** Join the references of parts and keys; what both say is one reference, at the part's place. */
function joined(
  inParts: readonly ToolReference[],
  inKeys: readonly ToolReference[],
): ToolReference[] {
  const left = [...inKeys];
  const toolReferences = inParts.map((reference) => {
    const index = left.findIndex((other) => identityOf(other) === identityOf(reference));
    if (index < 0) return reference;
    const [twin] = left.splice(index, 1);
    return { ...reference, name: reference.name || twin!.name };
  });
  return [...toolReferences, ...left];
}

function identityOf({ side, id, name }: ToolReference): string {
  return JSON.stringify(id === '' ? [side, '', name] : [side, id]);
}

function firstIn(fields: Fields, keys: Iterable<string>): string {
  for (const key of keys) {
    const text = textIn(fields, key);
    if (text !== '') return text;
  }
  return '';
}

function textIn(fields: Fields, key: string): string {
  const value = fields[key];
  return typeof value === 'string' ? value : '';
}

function has(part: Part, key: string): boolean {
  return part[key] !== false && !isNothing(part[key]);
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  return isObject(value) && Object.keys(value).length === 0;
}
