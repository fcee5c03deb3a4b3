/** What is summarised, and what stays. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { cutPointsOf } from '../src/groups.js';
import { cutOf } from '../src/compaction.js';
import { CannotCompact } from '../src/errors.js';
import type { Message } from '../src/types.js';
import { type Case, WIRE, rules } from './rules.js';
import { refusal, Script } from './scripted.js';

/** Messages from a line: s u a are roles, c1 and r1 call 1 and its result, z a synthetic one. */
function messages(line: string): Partial<Message>[] {
  return line.split(' ').map((word) => {
    const kind = word[0]!;
    const part = {
      c: { type: 'tool_call', tool_call_id: word },
      r: { type: 'tool_result', tool_call_id: word.replace('r', 'c') },
    }[kind] ?? { type: 'text', text: word };
    const role = { s: 'system', u: 'user', z: 'user', r: 'tool' }[kind] ?? 'assistant';
    return { role, parts: [part], ...(kind === 'z' ? { seq: null } : {}) };
  });
}

interface Shaped {
  name: string;
  messages: Message[];
  cut_points: number[];
  task_messages: number[];
  keep_last: number;
  trigger: number;
  cut: [from: number, to: number] | null;
}

const shaped = JSON.parse(readFileSync(join(WIRE, 'cuts.json'), 'utf8')) as Shaped[];

/** Return messages as a node sends them, with the token counts *tokens*. */
function answered(messages: Partial<Message>[], tokens: readonly number[] = []): Message[] {
  return messages.map((message, at) => ({
    seq: at + 1,
    version: at + 1,
    role: 'user',
    parts: [],
    metadata: {},
    token_count: tokens[at] ?? 1,
    inserted_at: '2026-01-05T09:30:00.000000Z',
    ...message,
  }));
}

test('conversations of all shapes are cut where the node would cut them', () => {
  assert.ok(shaped.length > 100);
  for (const { name, messages, cut_points: indexes, task_messages: taskMessages } of shaped) {
    assert.deepEqual(cutPointsOf(answered(messages)), { indexes, taskMessages }, name);
  }
});

test('of conversations of all shapes the same is summarised as by every client', () => {
  for (const { name, messages, keep_last, trigger, cut } of shaped) {
    const found = (): unknown => cutOf(answered(messages), keep_last, trigger);
    if (cut === null) assert.throws(found, CannotCompact, name);
    else assert.deepEqual(found(), { from: cut[0], to: cut[1] }, name);
  }
});

interface CutCase extends Case {
  line: string;
  tokens: number[];
  keep_last: number;
  trigger: number;
  cut: [from: number, to: number] | 'nothing' | null;
  kept_tokens?: number;
}

for (const one of rules<{ cases: CutCase[] }>('compaction').cases) {
  test(`compaction: ${one.rule}`, () => {
    const list = answered(messages(one.line), one.tokens);
    if (one.cut !== null) {
      const found = cutOf(list, one.keep_last, one.trigger);
      assert.deepEqual(found ? [found.from, found.to] : 'nothing', one.cut);
      return;
    }
    assert.throws(
      () => cutOf(list, one.keep_last, one.trigger),
      (error) =>
        error instanceof CannotCompact &&
        error.triggerTokens === one.trigger &&
        error.keptTokens === one.kept_tokens,
    );
  });
}

function view(
  version: number,
  texts: string[],
  more: object = {},
): { status: number; body: string } {
  const rest = {
    needs_compaction: true,
    fit: 'whole',
    stable_messages: 0,
    window_tokens: 100,
    version,
    ...more,
  };
  return {
    status: 200,
    body: `{"messages":[${texts.join(',')}],${JSON.stringify(rest).slice(1)}`,
  };
}

const text = (seq: number, role: string, n = '1'): string =>
  `{"seq":${seq},"version":${seq},"role":"${role}","token_count":1,"parts":[{"type":"text","text":"m${seq}","n":${n}}]}`;
const CONFIGURED = { status: 200, body: { version: 5, token_budget: 10, trigger_ratio: 0.5 } };
const HUGE = '1180591620717411303425';
const WINDOW = [
  text(1, 'system'),
  text(2, 'user'),
  text(3, 'assistant'),
  text(4, 'user', HUGE),
  text(5, 'assistant', '1.0'),
];
const SUMMARY = '{"role":"user","parts":[{"type":"text","text":"They met."}]}';

test('a summary takes the place of the old messages, and the others go back as they came', async () => {
  const script = new Script(view(5, WINDOW), CONFIGURED, { status: 200, body: { version: 6 } });
  const context = await script.client().context('demo');
  const seen: unknown[] = [];
  const done = await context.compactIfNeeded(
    (old, window) => {
      seen.push(
        old.map(({ seq }) => seq),
        window.version,
      );
      return 'They met.';
    },
    { keepLast: 2 },
  );
  assert.deepEqual(done, { version: 6 });
  assert.deepEqual(seen, [[2, 3], 5]);
  const replacement = [WINDOW[0], SUMMARY, WINDOW[3], WINDOW[4]].join(',');
  assert.equal(script.asked[2]!.body, `{"replacement":[${replacement}],"if_version":5}`);
  assert.equal(script.asked[2]!.headers['Idempotency-Key'], 'key-1');
});

test('what is appended meanwhile is carried over, and nothing is summarised twice', async () => {
  const more = text(6, 'user');
  const script = new Script(
    view(5, WINDOW),
    CONFIGURED,
    refusal(409, 'conflict', { expected: 5, found: 6 }),
    view(6, [...WINDOW, more]),
    { status: 200, body: { version: 7 } },
  );
  const context = await script.client().context('demo');
  let calls = 0;
  const summary = { role: 'user', parts: [{ type: 'text', text: 'They met.' }] };
  const done = await context.compactIfNeeded(() => (calls++, [summary]), { keepLast: 2 });
  assert.deepEqual(done, { version: 7 });
  assert.equal(calls, 1);
  const replacement = [WINDOW[0], SUMMARY, WINDOW[3], WINDOW[4], more].join(',');
  assert.equal(script.asked[4]!.body, `{"replacement":[${replacement}],"if_version":6}`);
  assert.notEqual(
    script.asked[4]!.headers['Idempotency-Key'],
    script.asked[2]!.headers['Idempotency-Key'],
  );
});

test('what was summarised and is another by now is summarised anew', async () => {
  const conflict = refusal(409, 'conflict', { expected: 5, found: 6 });
  const other = [WINDOW[0]!, text(3, 'assistant'), WINDOW[3]!, WINDOW[4]!];
  const script = new Script(view(5, WINDOW), CONFIGURED, conflict, view(6, other), CONFIGURED, {
    status: 200,
    body: { version: 7 },
  });
  const context = await script.client().context('demo');
  const seen: unknown[] = [];
  await context.compactIfNeeded((old) => (seen.push(old.map(({ seq }) => seq)), 'They met.'), {
    keepLast: 2,
  });
  assert.deepEqual(seen, [[2, 3], [3]]);
});

test('a window that somebody else has made small meanwhile is left alone', async () => {
  const conflict = refusal(409, 'conflict', { expected: 5, found: 6 });
  const script = new Script(
    view(5, WINDOW),
    CONFIGURED,
    conflict,
    view(6, [], { needs_compaction: false }),
  );
  const context = await script.client().context('demo');
  assert.equal(await context.compactIfNeeded(() => 'They met.', { keepLast: 2 }), null);
});

test('nothing is summarised below the trigger', async () => {
  const script = new Script(view(5, WINDOW, { needs_compaction: false }));
  const context = await script.client().context('demo');
  assert.equal(await context.compactIfNeeded(() => assert.fail('not needed')), null);
  assert.equal(script.asked.length, 1);
});

test('what no summary can help is an error, and nothing is written', async () => {
  const configured = { ...CONFIGURED, body: { ...CONFIGURED.body, token_budget: 4 } };
  const script = new Script(view(5, WINDOW), configured);
  const context = await script.client().context('demo');
  await assert.rejects(
    context.compactIfNeeded(() => assert.fail('not asked for')),
    (error) =>
      error instanceof CannotCompact &&
      error.code === 'cannot_compact' &&
      error.message ===
        'No summary can bring the window down to its trigger of 2 tokens: the instructions and ' +
          'the newest messages that belong together take 2. ' +
          "Raise the context's budget, or append smaller messages.",
  );
  assert.equal(script.asked.length, 2);
});

test('a window that a read would cut is read whole first', async () => {
  const script = new Script(
    view(5, WINDOW.slice(2), { fit: 'dropped', window_tokens: 77 }),
    refusal(409, 'conflict', { expected: 5, found: 6 }),
    view(6, WINDOW.slice(2), { fit: 'cut', window_tokens: 78 }),
    view(6, WINDOW, { needs_compaction: false }),
    CONFIGURED,
    { status: 200, body: { version: 7 } },
  );
  const context = await script.client().context('demo');
  assert.deepEqual(await context.compactIfNeeded(() => 'They met.', { keepLast: 2 }), {
    version: 7,
  });
  const paths = script.asked.map(({ path }) => path.replace('/contexts/demo', ''));
  assert.deepEqual(paths, [
    '/context',
    '/context?budget_tokens=77&if_version=5',
    '/context',
    '/context?budget_tokens=78&if_version=6',
    '',
    '/compact',
  ]);
});

test('what fails in the summary fails the call, and nothing is written', async () => {
  const script = new Script(view(5, WINDOW), CONFIGURED);
  const context = await script.client().context('demo');
  const reason = new Error('no model');
  await assert.rejects(
    context.compactIfNeeded(() => Promise.reject(reason), { keepLast: 2 }),
    reason,
  );
});
