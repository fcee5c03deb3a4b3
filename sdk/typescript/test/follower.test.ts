/** Which frames a follower is given, over many connections. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Follower } from '../src/follower.js';
import type { Frame } from '../src/types.js';

const message = (version: number, cursor = version): Frame => ({
  type: 'message',
  version,
  seq: version,
  message: {
    seq: version,
    version,
    role: 'user',
    parts: [],
    metadata: {},
    token_count: 4,
    inserted_at: '2026-01-05T09:30:00.000000Z',
  },
  cursor,
});
const compaction = (version: number, cursor = version): Frame => ({
  type: 'compaction',
  version,
  cursor,
  range: null,
  strategy: 'manual',
  used_tokens_before: 1,
  used_tokens_after: 0,
});
const context = (version: number, used_tokens = version): Frame => ({
  type: 'context',
  version,
  cursor: version,
  used_tokens,
  needs_compaction: false,
  token_budget: 10,
});

/** The frames of versions behind *cursor* as a node sends them: live from *newest* on. */
function sent(cursor: number, newest: number): Frame[] {
  const frames: Frame[] = [];
  for (let version = cursor + 1; version <= newest; version++) {
    const isLast = version === newest;
    const isTrimmed = version % 3 === 0;
    frames.push(message(version, isLast || isTrimmed ? version - 1 : version));
    if (isTrimmed) frames.push(compaction(version, isLast ? version - 1 : version));
  }
  frames.push(context(newest));
  return frames;
}

test('wherever connections break, each change is given once and in order', () => {
  const newest = 6;
  const whole = sent(0, newest);
  for (let first = 0; first <= whole.length; first++) {
    for (let second = 0; second <= whole.length; second++) {
      const follower = new Follower(0);
      const given: Frame[] = [];
      // The node knew less on the first connection, so that another version was the last.
      for (const [through, count] of [
        [4, first],
        [5, second],
        [newest, 99],
      ] as const) {
        given.push(
          ...sent(follower.cursor, through)
            .slice(0, count)
            .filter((frame) => follower.take(frame)),
        );
        follower.resume();
      }
      const changes = given
        .filter(({ type }) => type !== 'context')
        .map((frame) => JSON.stringify([frame.type, (frame as { version: number }).version]));
      const expected = whole
        .filter(({ type }) => type !== 'context')
        .map((frame) => JSON.stringify([frame.type, (frame as { version: number }).version]));
      assert.deepEqual(changes, expected, `cut at ${first} and ${second}`);
      assert.equal(follower.cursor, newest);
    }
  }
});

test('the cursor does not pass a version that is half given', () => {
  const follower = new Follower(4);
  assert.ok(follower.take(message(5, 4)));
  assert.equal(follower.cursor, 4);
  assert.ok(follower.take(context(5)));
  assert.equal(follower.cursor, 5);
});
