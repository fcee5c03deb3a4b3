/**
 * Runs one of the programs for Node.js, turn by turn, as a process that can be killed; `drive.py`
 * says how.
 */

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [program, node] = process.argv.slice(2);
const CRASHED = 70;
const BUDGET = 4_000;

const programs = new URL('../../examples/loops/node/', import.meta.url);
const { createClient } = createRequire(programs)('fastpaca');
const { answer } = await import(new URL(`${program}.ts`, programs));
const { tools } = await import(new URL('tools.ts', programs));

const client = createClient({ baseUrl: node });
const write = process.stdout.write.bind(process.stdout);
let streamed = '';
process.stdout.write = (piece) => {
  streamed += piece;
  return true;
};

async function played(turn) {
  const chat = await client.context(turn.context, { budget: BUDGET });
  if (turn.crash) tools.order_status = () => process.exit(CRASHED);
  if (turn.say !== null) await chat.append(turn.say);
  streamed = '';
  try {
    await answer(chat);
  } catch (error) {
    return { streamed, error: String(error) };
  }
  return { streamed };
}

for await (const line of createInterface({ input: process.stdin })) {
  write(`${JSON.stringify(await played(JSON.parse(line)))}\n`);
}
