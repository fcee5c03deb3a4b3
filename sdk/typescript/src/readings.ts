/**
 * What a message does to the calls of its conversation, read by the table of shapes. Pure.
 *
 * The same reading as the node's, in `fastpaca/shapes.py`, which says why each thing is as it is.
 */

import * as table from './shapes.js';
import type { Row, Side } from './shapes.js';
import type { Message, Part } from './types.js';

/** What a part is, as far as it matters where a conversation may be cut. */
export type Shape = Side | 'blank' | 'reasoning' | 'compaction' | 'page' | 'other';

/** A call, a result or an approval at one place of a message. */
export interface Mark {
  /** The index of the part; `WHOLE` for a message as a whole, and below it a key of the message. */
  place: number;
  side: Side;
  /** What binds it; empty if it has no id. */
  id: string;
  /** The name of its tool; empty if it names none. */
  name: string;
  /** Another id of a call. */
  alias: string;
  /** Of a request, the id of the call that it is about. */
  link: string;
  /** Of both in one, whether its result is still to come. */
  isOpen: boolean;
  /** Of a response, whether it says no, and so answers the call. */
  denies: boolean;
}

/** A message, read by the table. */
export interface Reading {
  role: string;
  /** Whether it stands in the window only, such as a summary. */
  isSynthetic: boolean;
  /** What each part is. */
  shapes: Shape[];
  /** Its calls, results and approvals: those of parts, then those of keys. */
  marks: Mark[];
  opensTurn: boolean;
  /** Whether keys of it hold reasoning. */
  hasReasoning: boolean;
  /** Whether it has keys that count, apart from those of reasoning and calls. */
  hasOtherKeys: boolean;
}

/** The place of a result that is its message as a whole. */
export const WHOLE = -1;

const IN_KEYS = -2;

type Fields = Readonly<Record<string, unknown>>;

const BY_KEY = new Map(rowsBy('key').map((row) => [row.word, row]));
const BY_TOOL_CALL_ID = rowsBy('toolCallId');
const BY_TYPE = rowsBy('type');
const BY_SUFFIX = rowsBy('suffix');

/** A character that is no white space, as Python has it. */
const VISIBLE = /[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

function rowsBy(by: Row['by']): Row[] {
  return table.ROWS.filter((row) => row.by === by);
}

/** Tell whether *mark* answers something that was said before, and nothing else. */
export function answers({ side }: Mark): boolean {
  return side === 'result' || side === 'response';
}

/** Read *message* by the table. */
export function readingOf(message: Message): Reading {
  const shapes: Shape[] = [];
  const inParts: Mark[] = [];
  message.parts.forEach((part, place) => {
    const row = rowOf(part);
    shapes.push(row === undefined ? shapeOf(part) : row.side);
    if (row !== undefined) inParts.push(markOf(place, part, row));
  });
  const { role } = message;
  const keys = Object.keys(message).filter(
    (key) => !table.STRUCTURAL_KEYS.has(key) && !isNothing(message[key]),
  );
  const marks = joined(inParts, marksOfKeys(message, inParts));
  const isSeen = shapes.some((shape) => shape !== 'page');
  return {
    role,
    isSynthetic: message.seq === null,
    shapes,
    marks,
    opensTurn: table.USER_ROLES.has(role) && isSeen && !marks.some(answers),
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

function markOf(place: number, part: Part, row: Row): Mark {
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

function marksOfKeys(message: Message, inParts: readonly Mark[]): Mark[] {
  const marks: Mark[] = [];
  const listed = message[table.CALLS_KEY];
  for (const call of Array.isArray(listed) ? (listed as unknown[]) : []) {
    if (!isObject(call)) continue;
    const named = isObject(call['function']) ? call['function'] : call;
    marks.push(markInKeys('call', textIn(call, 'id'), textIn(named, 'name')));
  }
  const legacy = message[table.CALL_KEY];
  if (isObject(legacy) && !isNothing(legacy)) {
    marks.push(markInKeys('call', '', textIn(legacy, 'name')));
  }
  if (table.RESULT_ROLES.has(message.role)) {
    const answered = textIn(message, table.RESULT_ID_KEY);
    if (answered !== '' || !inParts.some(answers)) {
      const name = firstIn(message, table.RESULT_NAME_KEYS);
      marks.push({ ...markInKeys('result', answered, name), place: WHOLE });
    }
  }
  return marks;
}

function markInKeys(side: Side, id: string, name: string): Mark {
  return { place: IN_KEYS, side, id, name, alias: '', link: '', isOpen: false, denies: false };
}

/** Join the marks of parts and of keys; what both say is one mark, where the part stands. */
function joined(inParts: readonly Mark[], inKeys: readonly Mark[]): Mark[] {
  const left = [...inKeys];
  const marks = inParts.map((mark) => {
    const at = left.findIndex((one) => said(one) === said(mark));
    if (at < 0) return mark;
    const [twin] = left.splice(at, 1);
    return { ...mark, name: mark.name || twin!.name };
  });
  return [...marks, ...left];
}

function said({ side, id, name }: Mark): string {
  return JSON.stringify(id === '' ? [side, '', name] : [side, id]);
}

function firstIn(fields: Fields, keys: Iterable<string>): string {
  for (const key of keys) {
    const found = textIn(fields, key);
    if (found !== '') return found;
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
