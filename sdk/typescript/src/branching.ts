/**
 * The branches of a conversation, worked out from the history of its window. Pure.
 *
 * Every rewind leaves the versions since the rewind before it, and what follows it continues from the
 * version that it names. So the versions between two rewinds are a segment, and a segment's end is the
 * end of a branch unless another segment continues from there.
 */

import type { Branch, Compaction } from './types.js';

/** Return the ends that the rewinds of a *history* have left, in the order of their versions. */
export function branchesOf(history: readonly Compaction[]): Branch[] {
  /** By the version of a rewind: the version, no rewind itself, whose path it made current. */
  const states = new Map<number, number>();
  const stateOf = (version: number): number => states.get(version) ?? version;
  const left = new Map<number, Branch>();
  const continued = new Set<number>();
  let start = 0;
  for (const { version, to_version, at } of history) {
    if (to_version === undefined) continue;
    const end = stateOf(version - 1);
    if (version - 1 > start) continued.add(stateOf(start));
    if (version - 1 > start || left.has(end)) left.set(end, { version: end, to_version, at });
    states.set(version, stateOf(to_version));
    start = version;
  }
  continued.add(stateOf(start));
  return [...left.values()]
    .filter(({ version }) => !continued.has(version))
    .sort((one, other) => one.version - other.version);
}
