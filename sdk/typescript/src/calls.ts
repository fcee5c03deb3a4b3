/**
 * Where a conversation may be cut without parting what belongs together. Pure.
 *
 * Calls are bound to their results, approvals and reasoning by the same rules as in a node, whose
 * `fastpaca/context/groups.py` says why each thing is as it is. `tests/wire/cuts.json` holds both
 * to the same answers.
 */

import { type Mark, type Reading, WHOLE, answers, readingOf } from './readings.js';
import { ASSISTANT_ROLES, INSTRUCTION_ROLES } from './shapes.js';
import type { Message } from './types.js';

/** Where messages may be parted. */
export interface Joints {
  /** Indexes before which a cut parts nothing; the end is one of them if everything may go. */
  places: number[];
  /** Indexes of the messages that open a turn. */
  openers: number[];
}

/** Find where *messages* may be parted, by the rules of a node. */
export function jointsOf(messages: readonly Message[]): Joints {
  const readings = messages.map(readingOf);
  const groups = new Groups(readings);
  const openers = readings.flatMap(({ opensTurn }, at) => (opensTurn ? [at] : []));
  return { places: groups.places(), openers };
}

/** A call of the conversation. */
interface Call {
  at: number;
  mark: Mark;
  step: number;
  state: 'running' | 'stopped' | 'answered';
  /** Of a request, the call that it asks for. */
  about: Call | undefined;
}

/** The calls of one step that a result without an id may take, oldest first, by what it says. */
interface Step {
  number: number;
  waiting: Map<string, Call[]>;
}

const PASSING: ReadonlySet<string> = new Set(['page']);
const OF_STRAYS: ReadonlySet<string> = new Set(['page', 'blank', 'result', 'response']);

/** Requests for approval and their answers have ids of their own. */
function spaceOf({ side }: Mark): string {
  return side === 'request' || side === 'response' ? '?' : '=';
}

function waitingKey(space: string, isWithoutId: boolean, name: string): string {
  return `${space}${isWithoutId ? 'n' : 'a'}${name}`;
}

function listIn<V>(lists: Map<string, V[]>, key: string): V[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, (list = []));
  return list;
}

function lastOf<V>(list: readonly V[], fits: (value: V) => boolean): V | undefined {
  for (let at = list.length - 1; at >= 0; at--) if (fits(list[at]!)) return list[at];
  return undefined;
}

class Groups {
  readonly #readings: readonly Reading[];
  // Pairing.
  readonly #byId = new Map<string, Call[]>();
  readonly #byName = new Map<string, Call[]>();
  readonly #every: Call[] = [];
  readonly #running = new Set<Call>();
  #steps: Step[] = [];
  #step = 0;
  #hasResult = false;
  #turn = -1;
  // Deciding places, from left to right.
  readonly #cuts: number[] = [];
  readonly #reach = new Map<number, number>();
  #settled = 0;
  #bound = -1;
  #speaker = -1;
  #withheld: number[] = [];
  readonly #strays = new Set<number>();
  /** Where a call and a result stand that belongs to it and does not answer it. */
  readonly #ties: [call: number, stray: number][] = [];
  /** Messages that hold the result of an earlier one's call. */
  readonly #late = new Set<number>();
  /** Messages whose calls another message answers. */
  readonly #foreign = new Set<number>();

  constructor(readings: readonly Reading[]) {
    this.#readings = readings;
    readings.forEach((reading, at) => {
      if (reading.opensTurn) this.#openTurn(at);
      let strays = 0;
      for (const mark of reading.marks) strays += this.#readMark(at, mark);
      if (strays > 0 && strays === reading.marks.length) this.#noteStrays(at, reading);
      this.#settle(at + 1);
    });
  }

  /** List the places where a cut parts nothing, no call from a stray of it either, and the end. */
  places(): number[] {
    const changes = new Array<number>(this.#readings.length + 2).fill(0);
    for (const [call, stray] of this.#ties) {
      changes[call + 1]! += 1;
      changes[stray + 1]! -= 1;
    }
    let depth = 0;
    const depths = changes.map((change) => (depth += change));
    return this.#places().filter((place) => depths[place] === 0);
  }

  #places(): number[] {
    const size = this.#readings.length;
    if (this.#settled === size) {
      const waits = this.#speaker >= 0 && endsInReasoning(this.#readings[this.#speaker]!);
      return waits ? this.#cuts : [...this.#cuts, size];
    }
    const at = this.#settled;
    if (kindOf(this.#readings[at]!) === 'assistant' && this.#joins(at, true)) {
      return this.#cuts.filter((place) => place <= this.#speaker);
    }
    return this.#isFree(at) ? [...this.#cuts, at] : this.#cuts;
  }

  // --- pairing ---

  #openTurn(at: number): void {
    for (const call of this.#running) call.state = 'stopped';
    this.#running.clear();
    this.#steps = [];
    this.#hasResult = false;
    this.#turn = at;
  }

  /** Read a mark; give 1 if it is a stray. */
  #readMark(at: number, mark: Mark): number {
    if (answers(mark)) return this.#readResult(at, mark);
    if (mark.side === 'both' && mark.id !== '') {
      const earlier = this.#nearestRunning(mark);
      if (earlier?.mark.side === 'both') this.#answer(earlier, at);
    }
    const isOpen = mark.side !== 'both' || mark.isOpen;
    const call = this.#made(at, mark, isOpen);
    if (mark.link !== '') this.#bindRequest(call);
    return 0;
  }

  #made(at: number, mark: Mark, isOpen: boolean): Call {
    if (isOpen && this.#hasResult) {
      this.#step += 1;
      this.#hasResult = false;
    }
    const state = isOpen ? 'running' : 'answered';
    const call: Call = { at, mark, step: this.#step, state, about: undefined };
    const space = spaceOf(mark);
    for (const id of [mark.id, mark.alias]) {
      if (id !== '') listIn(this.#byId, space + id).push(call);
    }
    if (mark.name !== '') listIn(this.#byName, space + mark.name).push(call);
    this.#every.push(call);
    if (isOpen) {
      this.#running.add(call);
      this.#addToStep(call, space);
    }
    return call;
  }

  #addToStep(call: Call, space: string): void {
    let step = this.#steps.at(-1);
    if (step?.number !== this.#step) {
      step = { number: this.#step, waiting: new Map() };
      this.#steps.push(step);
    }
    const { id, name } = call.mark;
    for (const isWithoutId of id === '' ? [false, true] : [false]) {
      for (const said of name === '' ? [''] : [name, '']) {
        listIn(step.waiting, waitingKey(space, isWithoutId, said)).push(call);
      }
    }
  }

  #bindRequest(request: Call): void {
    const call = this.#byId.get(`=${request.mark.link}`)?.at(-1);
    if (call === undefined || call.at < this.#turn) return;
    request.about = call;
    if (call.at !== request.at) this.#span(call.at, request.at);
  }

  #readResult(at: number, mark: Mark): number {
    const call = this.#match(mark);
    if (call !== undefined) {
      this.#answer(call, at);
      if (mark.denies && call.about?.state === 'running') this.#answer(call.about, at);
      return 0;
    }
    const owner = this.#owner(mark);
    if (owner === undefined) return 0;
    this.#ties.push([owner.at, at]);
    if (owner.at !== at) this.#late.add(at);
    return 1;
  }

  /** Find the running call that a result belongs to. */
  #match(mark: Mark): Call | undefined {
    const space = spaceOf(mark);
    if (mark.id !== '' && this.#byId.has(space + mark.id)) return this.#nearestRunning(mark);
    const key = waitingKey(space, mark.id !== '', mark.name);
    for (const { waiting } of [...this.#steps].reverse()) {
      const calls = waiting.get(key) ?? [];
      while (calls.length > 0 && calls[0]!.state !== 'running') calls.shift();
      if (calls.length > 0) return calls[0];
    }
    return undefined;
  }

  #nearestRunning(mark: Mark): Call | undefined {
    const calls = this.#byId.get(spaceOf(mark) + mark.id) ?? [];
    for (let at = calls.length - 1; at >= 0; at--) {
      const call = calls[at]!;
      if (call.state !== 'answered') return call.state === 'running' ? call : undefined;
    }
    return undefined;
  }

  /** Find the call that a result which binds nothing belongs to. */
  #owner(mark: Mark): Call | undefined {
    const space = spaceOf(mark);
    const known = mark.id === '' ? undefined : this.#byId.get(space + mark.id);
    if (known !== undefined) return known.at(-1);
    if (mark.id === '' && mark.name === '') {
      return lastOf(this.#every, (call) => spaceOf(call.mark) === space);
    }
    const named = this.#byName.get(space + mark.name) ?? [];
    return lastOf(named, (call) => mark.id === '' || call.mark.id === '');
  }

  #answer(call: Call, at: number): void {
    this.#running.delete(call);
    call.state = 'answered';
    if (call.at !== at) {
      this.#foreign.add(call.at);
      this.#late.add(at);
      this.#span(call.at, at);
    }
    this.#hasResult = true;
    for (const oldest of this.#running) {
      if (oldest.step >= call.step) break;
      oldest.state = 'stopped';
      this.#running.delete(oldest);
    }
    this.#steps = this.#steps.filter((step) => step.number >= call.step);
  }

  /** Note a message that holds nothing but strays. */
  #noteStrays(at: number, { marks, shapes }: Reading): void {
    const isWhole = marks.some(({ place }) => place === WHOLE);
    if (isWhole || shapes.every((shape) => OF_STRAYS.has(shape))) this.#strays.add(at);
  }

  // --- deciding places ---

  /** Bind the messages from *start* to *end*. */
  #span(start: number, end: number): void {
    if (start < this.#settled) {
      this.#bound = Math.max(this.#bound, end);
      this.#forgetAfter(start);
    } else {
      this.#reach.set(start, Math.max(this.#reach.get(start) ?? -1, end));
    }
  }

  #forgetAfter(start: number): void {
    while ((this.#cuts.at(-1) ?? -1) > start) this.#cuts.pop();
    this.#withheld = this.#withheld.filter((place) => place <= start);
  }

  /** Decide all places before *end*, up to the first message whose call runs. */
  #settle(end: number): void {
    for (const call of this.#running) {
      end = call.at;
      break;
    }
    while (this.#settled < end) this.#decide(this.#settled);
  }

  #decide(place: number): void {
    const reading = this.#readings[place]!;
    const kind = kindOf(reading);
    let isJoined = false;
    if (kind === 'passed') {
      isJoined = this.#speaker >= 0 && endsInReasoning(this.#readings[this.#speaker]!);
      if (isJoined && this.#isFree(place)) this.#withheld.push(place);
    } else if (kind === 'assistant' && this.#joins(place, false)) {
      isJoined = true;
      this.#bound = Math.max(this.#bound, place);
      this.#forgetAfter(this.#speaker);
      this.#withheld = [];
    } else {
      this.#cuts.push(...this.#withheld);
      this.#withheld = [];
    }
    if (!isJoined && this.#isFree(place)) this.#cuts.push(place);
    if (kind !== 'passed') {
      const isReply = kind === 'assistant' && !reading.isSynthetic;
      this.#speaker = isReply && reading.shapes.at(-1) !== 'compaction' ? place : -1;
    }
    this.#bound = Math.max(this.#bound, this.#reach.get(place) ?? -1);
    this.#settled = place + 1;
  }

  #isFree(place: number): boolean {
    return place === 0 || (this.#bound < place && !this.#strays.has(place));
  }

  /** Tell whether the assistant message at *place* is held to the one before it. */
  #joins(place: number, runs: boolean): boolean {
    if (this.#speaker < 0 || this.#late.has(place)) return false;
    if (runs || this.#foreign.has(place)) return true;
    return endsInReasoning(this.#readings[this.#speaker]!);
  }
}

/** Tell whether a message is the assistant's, is passed over between two of these, or neither. */
function kindOf(reading: Reading): 'passed' | 'assistant' | 'other' {
  const { role, shapes, marks } = reading;
  if (INSTRUCTION_ROLES.has(role)) return 'passed';
  const isPage = shapes.length > 0 && shapes.every((shape) => PASSING.has(shape));
  if (isPage && marks.length === 0 && !reading.hasOtherKeys) return 'passed';
  return ASSISTANT_ROLES.has(role) ? 'assistant' : 'other';
}

/** Tell whether the last thing that a message says is reasoning. */
function endsInReasoning({ shapes, marks, hasReasoning, hasOtherKeys }: Reading): boolean {
  if (marks.some(({ place }) => place < WHOLE)) return false; // calls in keys come after the parts
  const seen = shapes.filter((shape) => shape !== 'page');
  return seen.length > 0 ? seen.at(-1) === 'reasoning' : hasReasoning && !hasOtherKeys;
}
