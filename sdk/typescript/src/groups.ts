/**
 * Where a conversation may be cut without separating what belongs together. Pure.
 *
 * Calls are bound to their results, approvals and reasoning by the rules of the node, which its
 * `fastpaca/context/groups.py` explains. `tests/wire/cuts.json` holds both to the same results.
 */

import { type ToolReference, type Reading, WHOLE, answers, readingOf } from './readings.js';
import { ASSISTANT_ROLES, INSTRUCTION_ROLES } from './shapes.js';
import type { Message } from './types.js';

/** Where messages may be cut. */
export interface CutPoints {
  /**
   * A cut before the message at one of these separates nothing that belongs together. The number of
   * messages is one of them if everything may go.
   */
  indexes: number[];
  /** The indexes of the messages that open a turn. */
  taskMessages: number[];
}

/** Find where *messages* may be cut, by the rules of a node. */
export function cutPointsOf(messages: readonly Message[]): CutPoints {
  const readings = messages.map(readingOf);
  const groups = new Groups(readings);
  const taskMessages = readings.flatMap(({ opensTurn }, index) => (opensTurn ? [index] : []));
  return { indexes: groups.cuts(), taskMessages };
}

/** A tool call of the conversation. */
interface Call {
  at: number;
  reference: ToolReference;
  step: number;
  state: 'running' | 'stopped' | 'answered';
  /** For an approval request, the call that it is about. */
  about: Call | undefined;
}

/** The calls of one step that a result without an id may answer, oldest first, by its name. */
interface Step {
  number: number;
  waiting: Map<string, Call[]>;
}

const PASSING: ReadonlySet<string> = new Set(['page']);
const OF_STRAYS: ReadonlySet<string> = new Set(['page', 'blank', 'result', 'response']);

/** Return the id space of a reference: approval requests and responses have their own. */
function spaceOf({ side }: ToolReference): string {
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
  for (let i = list.length - 1; i >= 0; i--) if (fits(list[i]!)) return list[i];
  return undefined;
}

class Groups {
  readonly #readings: readonly Reading[];
  // Pairing.
  readonly #byId = new Map<string, Call[]>();
  readonly #byName = new Map<string, Call[]>();
  readonly #every: Call[] = [];
  readonly #running = new Set<Call>();
  /** Calls that run and stand before a provider's summary, which replaces them. */
  readonly #replaced = new Set<Call>();
  #summary = -1;
  #steps: Step[] = [];
  #step = 0;
  #hasResult = false;
  #turn = -1;
  // Deciding cut points, from left to right.
  readonly #cuts: number[] = [];
  readonly #reach = new Map<number, number>();
  #settled = 0;
  #bound = -1;
  #speaker = -1;
  #withheld: number[] = [];
  readonly #strays = new Set<number>();
  /** The indexes of calls and of their strays: results that belong to them but don't answer them. */
  readonly #ties: [call: number, stray: number][] = [];
  /** Messages that hold the result of a call in an earlier message. */
  readonly #late = new Set<number>();
  /** Messages with a call that another message answers. */
  readonly #foreign = new Set<number>();

  constructor(readings: readonly Reading[]) {
    this.#readings = readings;
    readings.forEach((reading, at) => {
      if (reading.opensTurn) this.#openTurn(at);
      if (holdsSummary(reading)) this.#releaseRunning(at);
      let strays = 0;
      for (const reference of reading.toolReferences) strays += this.#readReference(at, reference);
      if (strays > 0 && strays === reading.toolReferences.length) this.#noteStrays(at, reading);
      this.#settle(at + 1);
    });
  }

  /** Return the cut points, the end included; none of them separates a call from its strays. */
  cuts(): number[] {
    const changes = new Array<number>(this.#readings.length + 2).fill(0);
    for (const [call, stray] of this.#ties) {
      changes[call + 1]! += 1;
      changes[stray + 1]! -= 1;
    }
    let depth = 0;
    const depths = changes.map((change) => (depth += change));
    return this.#allCuts().filter((cut) => depths[cut] === 0);
  }

  #allCuts(): number[] {
    const size = this.#readings.length;
    if (this.#settled === size) {
      const waits = this.#speaker >= 0 && endsInReasoning(this.#readings[this.#speaker]!);
      return waits ? this.#cuts : [...this.#cuts, size];
    }
    const at = this.#settled;
    if (kindOf(this.#readings[at]!) === 'assistant' && this.#joins(at, true)) {
      return this.#cuts.filter((cut) => cut <= this.#speaker);
    }
    return this.#isFree(at) ? [...this.#cuts, at] : this.#cuts;
  }

  // --- pairing ---

  #openTurn(at: number): void {
    this.#stop(this.#running);
    this.#stop(this.#replaced);
    this.#steps = [];
    this.#hasResult = false;
    this.#turn = at;
  }

  #stop(calls: Set<Call>): void {
    for (const call of calls) if (call.state === 'running') call.state = 'stopped';
    calls.clear();
  }

  /** Let running calls before a provider's summary bind nothing, since it replaces them. */
  #releaseRunning(at: number): void {
    this.#summary = at;
    this.#hasResult ||= this.#running.size > 0; // those after it are of a later step
    for (const call of this.#running) this.#replaced.add(call);
    this.#running.clear();
  }

  /** Read a reference; return 1 if it is a stray, else 0. */
  #readReference(at: number, reference: ToolReference): number {
    if (answers(reference)) return this.#readResult(at, reference);
    if (reference.side === 'both' && reference.id !== '') {
      const earlier = this.#nearestRunning(reference);
      if (earlier?.reference.side === 'both') this.#answer(earlier, at);
    }
    const isOpen = reference.side !== 'both' || reference.isOpen;
    const call = this.#made(at, reference, isOpen);
    if (reference.link !== '') this.#bindRequest(call);
    return 0;
  }

  #made(at: number, reference: ToolReference, isOpen: boolean): Call {
    if (isOpen && this.#hasResult) {
      this.#step += 1;
      this.#hasResult = false;
    }
    const state = isOpen ? 'running' : 'answered';
    const call: Call = { at, reference, step: this.#step, state, about: undefined };
    const space = spaceOf(reference);
    for (const id of [reference.id, reference.alias]) {
      if (id !== '') listIn(this.#byId, space + id).push(call);
    }
    if (reference.name !== '') listIn(this.#byName, space + reference.name).push(call);
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
    const { id, name } = call.reference;
    for (const isWithoutId of id === '' ? [false, true] : [false]) {
      for (const said of name === '' ? [''] : [name, '']) {
        listIn(step.waiting, waitingKey(space, isWithoutId, said)).push(call);
      }
    }
  }

  #bindRequest(request: Call): void {
    const call = this.#byId.get(`=${request.reference.link}`)?.at(-1);
    if (call === undefined || call.at < this.#turn) return;
    request.about = call;
    if (call.at !== request.at) this.#span(call.at, request.at);
  }

  #readResult(at: number, reference: ToolReference): number {
    const call = this.#match(reference);
    if (call !== undefined) {
      this.#answer(call, at);
      if (reference.denies && call.about?.state === 'running') this.#answer(call.about, at);
      return 0;
    }
    const owner = this.#owner(reference);
    if (owner === undefined) return 0;
    this.#ties.push([owner.at, at]);
    if (owner.at !== at) this.#late.add(at);
    return 1;
  }

  /** Find the running call that a result belongs to. */
  #match(reference: ToolReference): Call | undefined {
    const space = spaceOf(reference);
    if (reference.id !== '' && this.#byId.has(space + reference.id))
      return this.#nearestRunning(reference);
    const key = waitingKey(space, reference.id !== '', reference.name);
    for (const { waiting } of [...this.#steps].reverse()) {
      const calls = waiting.get(key) ?? [];
      while (calls.length > 0 && calls[0]!.state !== 'running') calls.shift();
      if (calls.length > 0) return calls[0];
    }
    return undefined;
  }

  #nearestRunning(reference: ToolReference): Call | undefined {
    const calls = this.#byId.get(spaceOf(reference) + reference.id) ?? [];
    for (let at = calls.length - 1; at >= 0; at--) {
      const call = calls[at]!;
      if (call.state !== 'answered') return call.state === 'running' ? call : undefined;
    }
    return undefined;
  }

  /** Find the call to which a stray result belongs. */
  #owner(reference: ToolReference): Call | undefined {
    const space = spaceOf(reference);
    const known = reference.id === '' ? undefined : this.#byId.get(space + reference.id);
    if (known !== undefined) return known.at(-1);
    if (reference.id === '' && reference.name === '') {
      return lastOf(this.#every, (call) => spaceOf(call.reference) === space);
    }
    const named = this.#byName.get(space + reference.name) ?? [];
    return lastOf(named, (call) => reference.id === '' || call.reference.id === '');
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
    if (call.at >= this.#summary) this.#stop(this.#replaced);
    for (const oldest of this.#running) {
      if (oldest.step >= call.step) break;
      oldest.state = 'stopped';
      this.#running.delete(oldest);
    }
    this.#steps = this.#steps.filter((step) => step.number >= call.step);
  }

  /** Record a message that holds only strays. */
  #noteStrays(at: number, { toolReferences, shapes }: Reading): void {
    const isWhole = toolReferences.some(({ place }) => place === WHOLE);
    if (isWhole || shapes.every((shape) => OF_STRAYS.has(shape))) this.#strays.add(at);
  }

  // --- deciding cut points ---

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
    this.#withheld = this.#withheld.filter((cut) => cut <= start);
  }

  /** Decide all cut points before *end*, up to the first message with a running call. */
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

  /** Return whether the assistant message at *place* is bound to the one before it. */
  #joins(place: number, runs: boolean): boolean {
    if (this.#speaker < 0 || this.#late.has(place)) return false;
    if (runs || this.#foreign.has(place)) return true;
    return endsInReasoning(this.#readings[this.#speaker]!);
  }
}

/** Return whether a part stands for everything before it; none does in a whole result. */
function holdsSummary({ shapes, toolReferences }: Reading): boolean {
  return shapes.includes('compaction') && !toolReferences.some(({ place }) => place === WHOLE);
}

/** Return whether a message is the assistant's, is skipped between two of these, or neither. */
function kindOf(reading: Reading): 'passed' | 'assistant' | 'other' {
  const { role, shapes, toolReferences } = reading;
  if (INSTRUCTION_ROLES.has(role)) return 'passed';
  const isPage = shapes.length > 0 && shapes.every((shape) => PASSING.has(shape));
  if (isPage && toolReferences.length === 0 && !reading.hasOtherKeys) return 'passed';
  return ASSISTANT_ROLES.has(role) ? 'assistant' : 'other';
}

/** Return whether the last visible part of a message is reasoning. */
function endsInReasoning({ shapes, toolReferences, hasReasoning, hasOtherKeys }: Reading): boolean {
  if (toolReferences.some(({ place }) => place < WHOLE)) return false; // calls in keys come after the parts
  const seen = shapes.filter((shape) => shape !== 'page');
  return seen.length > 0 ? seen.at(-1) === 'reasoning' : hasReasoning && !hasOtherKeys;
}
