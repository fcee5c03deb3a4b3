/** What is summarised, and what stays. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { jointsOf } from '../src/calls.js';
import { cutOf } from '../src/compaction.js';
import type { Message } from '../src/types.js';
import { refusal, Script } from './scripted.js';

/** Messages from a line: s u a are roles, c1 and r1 call 1 and its result, z a synthetic one. */
function messages(line: string): Message[] {
  return line.split(' ').map((word, at): Message => {
    const kind = word[0]!;
    const part = {
      c: { type: 'tool_call', tool_call_id: word },
      r: { type: 'tool_result', tool_call_id: word.replace('r', 'c') },
    }[kind] ?? { type: 'text', text: word };
    const role = { s: 'system', u: 'user', z: 'user', r: 'tool' }[kind] ?? 'assistant';
    return {
      seq: kind === 'z' ? null : at + 1,
      version: at + 1,
      role,
      parts: [part],
      metadata: {},
      token_count: 1,
      inserted_at: '2026-01-05T09:30:00.000000Z',
    };
  });
}

const CUTS: [line: string, keepLast: number, from: number | undefined, to: number | undefined][] = [
  ['u a u a u a', 2, 0, 4],
  ['u a u a u a', 3, 0, 2],
  ['s s u a u a u a', 2, 2, 6],
  ['u a u c1 r1 a u a', 3, 0, 2],
  ['u c1 r1 c2 r2 c3 r3 a', 2, 0, 5],
  ['u c1 c2 r1 r2 a', 2, 0, 1],
  ['u a c1', 0, 0, 2],
  ['u a c1 c2 r2', 0, 0, 2],
  ['u a u a', 0, 0, 4],
  ['z u a u a', 2, 0, 3],
  ['z u', 1, undefined, undefined],
  ['s z u a', 2, undefined, undefined],
  ['s s', 0, undefined, undefined],
  ['u a', 2, undefined, undefined],
  ['u a', 20, undefined, undefined],
  ['u c1 a a r1', 1, 0, 1],
  ['c1 a a r1', 1, undefined, undefined],
];

for (const [line, keepLast, from, to] of CUTS) {
  test(`of ${line}, ${keepLast} to keep, ${from ?? 'nothing'} to ${to ?? 'nothing'} is summarised`, () => {
    const expected = to === undefined ? undefined : { from, to };
    assert.deepEqual(cutOf(messages(line), keepLast), expected);
  });
}

const CALLS: [object, object][] = [
  [
    { parts: [{ type: 'tool_call', call_id: 'x' }] },
    { parts: [{ type: 'tool_result', call_id: 'x' }] },
  ],
  [
    { parts: [{ type: 'tool_use', id: 'x', call_id: 'y' }] },
    { parts: [{ type: 'tool_result', tool_use_id: 'x' }] },
  ],
  [
    { parts: [{ type: 'server_tool_use', id: 'x' }] },
    { parts: [{ type: 'web_search_tool_result', tool_use_id: 'x' }] },
  ],
  [
    { parts: [], tool_calls: [{ id: 'x' }] },
    { parts: [], tool_call_id: 'x' },
  ],
  [
    { parts: [{ type: 'function_call', call_id: 'x', id: 'y' }] },
    { parts: [{ type: 'function_call_output', call_id: 'x' }] },
  ],
  [
    { parts: [{ type: 'tool-call', toolCallId: 'x' }] },
    { parts: [{ type: 'tool-result', toolCallId: 'x' }] },
  ],
];

for (const [call, result] of CALLS) {
  test(`${JSON.stringify(call)} stays with its result`, () => {
    const list = [call, { parts: [] }, result, { parts: [] }].map(
      (one) => ({ role: 'x', ...one }) as unknown as Message,
    );
    assert.deepEqual(jointsOf(list), [true, false, false, true, true]);
  });
}

test('a part that is call and result in one stays with nobody', () => {
  const both = {
    role: 'assistant',
    parts: [
      { type: 'tool-weather', toolCallId: 'x' },
      { type: 'tool-call', toolCallId: 'x', state: 'done' },
    ],
  };
  assert.deepEqual(jointsOf([both, both] as unknown as Message[]), [true, true, true]);
});

test('a result belongs to the nearest earlier call with its id', () => {
  assert.deepEqual(jointsOf(messages('c1 r1 c1 a r1 u')), [
    true,
    false,
    true,
    false,
    false,
    true,
    true,
  ]);
});

function view(
  version: number,
  texts: string[],
  more: object = {},
): { status: number; body: string } {
  const rest = { needs_compaction: true, fit: 'whole', window_tokens: 100, version, ...more };
  return {
    status: 200,
    body: `{"messages":[${texts.join(',')}],${JSON.stringify(rest).slice(1)}`,
  };
}

const text = (seq: number, role: string, n = '1'): string =>
  `{"seq":${seq},"version":${seq},"role":"${role}","parts":[{"type":"text","text":"m${seq}","n":${n}}]}`;
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
  const script = new Script(view(5, WINDOW), { status: 200, body: { version: 6 } });
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
  assert.equal(script.asked[1]!.body, `{"replacement":[${replacement}],"if_version":5}`);
  assert.equal(script.asked[1]!.headers['Idempotency-Key'], 'key-1');
});

test('what is appended meanwhile is carried over, and nothing is summarised twice', async () => {
  const more = text(6, 'user');
  const script = new Script(
    view(5, WINDOW),
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
  assert.equal(script.asked[3]!.body, `{"replacement":[${replacement}],"if_version":6}`);
  assert.notEqual(
    script.asked[3]!.headers['Idempotency-Key'],
    script.asked[1]!.headers['Idempotency-Key'],
  );
});

test('what was summarised and is another by now is summarised anew', async () => {
  const conflict = refusal(409, 'conflict', { expected: 5, found: 6 });
  const other = [WINDOW[0]!, text(3, 'assistant'), WINDOW[3]!, WINDOW[4]!];
  const script = new Script(view(5, WINDOW), conflict, view(6, other), {
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
  const script = new Script(view(5, WINDOW), conflict, view(6, [], { needs_compaction: false }));
  const context = await script.client().context('demo');
  assert.equal(await context.compactIfNeeded(() => 'They met.', { keepLast: 2 }), null);
});

test('nothing is summarised below the trigger, or if nothing is old', async () => {
  const script = new Script(view(5, WINDOW, { needs_compaction: false }), view(5, WINDOW));
  const context = await script.client().context('demo');
  const summarise = (): string => assert.fail('not needed');
  assert.equal(await context.compactIfNeeded(summarise, { keepLast: 2 }), null);
  assert.equal(await context.compactIfNeeded(summarise), null);
  assert.equal(script.asked.length, 2);
});

test('a window that a read would cut is read whole first', async () => {
  const script = new Script(
    view(5, WINDOW.slice(2), { fit: 'dropped', window_tokens: 77 }),
    refusal(409, 'conflict', { expected: 5, found: 6 }),
    view(6, WINDOW.slice(2), { fit: 'cut', window_tokens: 78 }),
    view(6, WINDOW, { needs_compaction: false }),
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
    '/compact',
  ]);
});

test('what fails in the summary fails the call, and nothing is written', async () => {
  const script = new Script(view(5, WINDOW));
  const context = await script.client().context('demo');
  const reason = new Error('no model');
  await assert.rejects(
    context.compactIfNeeded(() => Promise.reject(reason), { keepLast: 2 }),
    reason,
  );
});
