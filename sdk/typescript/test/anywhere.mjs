// A conversation on any runtime that has fetch; the address of a node is the argument.

import { createClient, ContextNotFound, FastpacaError, VersionConflict } from 'fastpaca';

const address = globalThis.Deno?.args[0] ?? globalThis.process.argv[2];

function check(isTrue, what) {
  if (!isTrue) throw new Error(`not so: ${what}`);
}

async function refusal(call) {
  return call.then(
    () => undefined,
    (error) => error,
  );
}

const fastpaca = createClient({ baseUrl: address });
const ctx = await fastpaca.context('anywhere ü/1', { budget: 1_000_000 });
await ctx.append({ role: 'user', parts: [{ type: 'text', text: 'Hi 😀' }] });
const { messages } = await ctx.context();
check(messages.length === 1 && messages[0].parts[0].text === 'Hi 😀', 'a message is read back');

const missing = await refusal((await fastpaca.context('missing')).info());
check(
  missing instanceof ContextNotFound && missing instanceof FastpacaError,
  'errors have classes',
);
const conflict = await refusal(ctx.append(messages[0], { ifVersion: 0 }));
check(conflict instanceof VersionConflict && conflict.found === 1, 'conflicts are told');

// Bodies of streams break off after ever more bytes.
let breaks = 0;
async function breaking(url, init) {
  const response = await fetch(url, init);
  if (!String(url).includes('/events') || response.body === null) return response;
  let left = 150 + 97 * breaks++;
  const body = response.body.pipeThrough(
    new TransformStream({
      transform(piece, controller) {
        left -= piece.length;
        if (left >= 0) controller.enqueue(piece);
        else controller.error(new TypeError('cut'));
      },
    }),
  );
  return new Response(body, response);
}

const platform = { random: () => 0 };
const follower = createClient({ baseUrl: address, fetch: breaking, platform });
const following = (async () => {
  const seqs = [];
  for await (const frame of (await follower.context(ctx.id)).stream({ cursor: 0 })) {
    if (frame.type === 'message') seqs.push(frame.seq);
  }
  return seqs;
})();
for (let count = 2; count <= 20; count++) {
  await ctx.append({ role: 'user', parts: [{ type: 'text', text: `message ${count}` }] });
}
await fastpaca.deleteContext(ctx.id);
const seqs = await following;
check(seqs.join() === Array.from({ length: 20 }, (_, at) => at + 1).join(), `each once: ${seqs}`);
check(breaks > 3, `connections broke: ${breaks}`);

const pending = await fastpaca.context('pending', { budget: 10 });
const stream = pending.stream({ cursor: 0 });
check((await stream.next()).value.type === 'context', 'a stream is live');
const next = stream.next();
await stream.return();
check((await next).done, 'a stream is left');

console.log('all is well');
