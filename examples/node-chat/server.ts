/** Serves the chat route on Node's own HTTP server: `node server.ts --help` says how. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { parseArgs } from 'node:util';
import { createOpenAI } from '@ai-sdk/openai';
import { createClient } from 'fastpaca';
import { createChat } from './chat.ts';

const { values: options } = parseArgs({
  options: {
    fastpaca: { type: 'string', default: 'http://127.0.0.1:4000' },
    model: { type: 'string', default: 'gpt-4o-mini' },
    budget: { type: 'string', default: '2000' },
    port: { type: 'string', default: '5002' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log('node server.ts [--fastpaca URL] [--model NAME] [--budget TOKENS] [--port PORT]');
  process.exit();
}

// The address of the model and the key are in OPENAI_BASE_URL and OPENAI_API_KEY.
const chat = createChat({
  fastpaca: createClient({ baseUrl: options.fastpaca }),
  model: createOpenAI().chat(options.model),
  budget: Number(options.budget),
});

const routes: Record<string, (request: Request) => Promise<Response>> = {
  'GET /api/chat': chat.read,
  'POST /api/chat': chat.answer,
};

async function respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const url = new URL(incoming.url ?? '/', 'http://localhost');
  const method = incoming.method ?? 'GET';
  const route = routes[`${method} ${url.pathname}`];
  const body = method === 'POST' ? (Readable.toWeb(incoming) as BodyInit) : null;
  const response = route
    ? await route(new Request(url, { method, body, duplex: 'half' } as RequestInit))
    : Response.json({ error: 'There is no such route.' }, { status: 404 });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  await pipeline(Readable.fromWeb(response.body as ReadableStream), outgoing);
}

const server = createServer((incoming, outgoing) => {
  respond(incoming, outgoing).catch((error: unknown) => {
    if (outgoing.destroyed) return; // its reader went away, which is nobody's fault
    console.error(error);
    if (!outgoing.headersSent) outgoing.writeHead(500);
    outgoing.end();
  });
});
server.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  console.log(`The chat route is http://127.0.0.1:${port}/api/chat`);
});
