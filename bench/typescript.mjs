// What a call of the TypeScript SDK takes beside the same call of fetch; see typescript.py.
//
// node typescript.mjs <folder of the compiled SDK> <address of a node> <seconds> <turns>

import { pathToFileURL } from 'node:url';

const [folder, address, seconds, turns] = process.argv.slice(2);
const { createClient } = await import(pathToFileURL(`${folder}/esm/index.js`));

const TEXT =
  'The quick brown fox jumps over the lazy dog and runs on to the river, again and again. '.repeat(
    5,
  );
const message = { role: 'user', parts: [{ type: 'text', text: TEXT }] };
const client = createClient({ baseUrl: address });
const ctx = await client.context('window', { budget: 1_000_000 });
await ctx.append(Array.from({ length: 20 }, () => message));
// Small, so that the window stays what it is however many messages are appended.
const log = await client.context('log', { budget: 2000 });

let keys = 0;
async function fetched(path, init) {
  const response = await fetch(`${address}/v1/contexts/${path}`, init);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

const CALLS = {
  append: [
    () => log.append(message),
    () =>
      fetched('log/messages', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': `raw-${++keys}` },
        body: JSON.stringify({ message }),
      }),
  ],
  'context read': [() => ctx.context(), () => fetched('window/context')],
};

/** Microseconds of a call, of the clock and of this process. */
async function timeOf(call) {
  const { user, system } = process.cpuUsage();
  const start = performance.now();
  const end = start + 1000 * Number(seconds);
  let calls = 0;
  while (performance.now() < end) {
    await call();
    calls += 1;
  }
  const used = process.cpuUsage();
  return {
    wall: (1000 * (performance.now() - start)) / calls,
    busy: (used.user + used.system - user - system) / calls,
  };
}

for (const [name, calls] of Object.entries(CALLS)) {
  for (const call of calls) await timeOf(call); // until the compiler has had its say
  for (let turn = 0; turn < Number(turns); turn++) {
    // In turns, the one first and then the other: what warms up or slows down is fair to both.
    const pair = turn % 2 ? [...calls].reverse() : calls;
    const times = [];
    for (const call of pair) times.push(await timeOf(call));
    const [sdk, raw] = turn % 2 ? times.reverse() : times;
    console.log(JSON.stringify({ name, sdk, raw }));
  }
}
