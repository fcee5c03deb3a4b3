/**
 * A chat route for `useChat` of the AI SDK: fastpaca keeps the conversation, the model is sent what
 * fits its budget.
 *
 * The handlers take a `Request` and give a `Response`, so they fit a route of Next.js, Hono or Bun
 * as they are; `server.ts` puts them on Node's own HTTP server.
 */

import {
  consumeStream,
  convertToModelMessages,
  createUIMessageStreamResponse,
  generateId,
  jsonSchema,
  type LanguageModel,
  safeValidateUIMessages,
  streamText,
  tool,
  toUIMessageStream,
  type UIMessage,
} from 'ai';
import {
  type Client,
  type Context,
  FastpacaError,
  type LogMessage,
  VersionConflict,
} from 'fastpaca';

const SYSTEM_PROMPT = 'You are a friendly assistant. Answer briefly.';

const tools = {
  // Runs here, once the user has agreed to it.
  cancel_order: tool({
    description: 'Cancel an order.',
    inputSchema: jsonSchema<{ order: string }>({
      type: 'object',
      properties: { order: { type: 'string' } },
      required: ['order'],
    }),
    needsApproval: true,
    execute: ({ order }) => ({ cancelled: order }),
  }),
  // Runs in the page, which sends what came of it.
  local_time: tool({
    description: "The time on the user's clock.",
    inputSchema: jsonSchema<object>({ type: 'object', properties: {} }),
    outputSchema: jsonSchema<string>({ type: 'string' }),
  }),
};

export interface ChatOptions {
  fastpaca: Client;
  model: LanguageModel;
  /** How many tokens the model is sent at most. */
  budget: number;
}

export function createChat({ fastpaca, model, budget }: ChatOptions) {
  /** Create the context if it is new, with the system prompt at its beginning. */
  async function open(id: string): Promise<Context> {
    const context = await fastpaca.context(id, { budget });
    if ((await context.info()).version === 0) {
      const prompt = { role: 'system', content: SYSTEM_PROMPT };
      await context.append(prompt, { ifVersion: 0 }).catch((error) => {
        if (!(error instanceof VersionConflict)) throw error; // another request was first
      });
    }
    return context;
  }

  /** GET ?id=…: the newest messages, for `useChat` to begin with. */
  async function read(request: Request): Promise<Response> {
    const id = new URL(request.url).searchParams.get('id');
    if (!id) return refused('Which chat? Give its id.');
    const context = await open(id);
    const messages = await context.getTail({ limit: 200, path: 'current' });
    return Response.json(messages.filter((message) => message.role !== 'system').map(toUIMessage));
  }

  /**
   * POST {id, message}: keep the message, stream an answer, keep that.
   *
   * The message is the user's, or the assistant's with an approval or the output of a tool of the
   * page in it. The answer to that continues the same message, which is put again under its id.
   */
  async function answer(request: Request): Promise<Response> {
    const { id, message } = await asked(request);
    if (typeof id !== 'string' || !id) return refused('Which chat? Give its id.');
    if (!message?.id || message.role === 'system') return refused('Send a message with an id.');

    const context = await open(id);
    // A page may add to a message of the assistant; it may not begin one.
    if (message.role === 'assistant') await context.get(message.id);
    await context.put(message);

    const view = await context.context({ format: 'ai-sdk', budgetTokens: budget });
    const result = streamText({
      model,
      instructions: view.system,
      messages: await convertToModelMessages(view.messages),
      tools,
    });

    const stream = toUIMessageStream({
      stream: result.stream,
      originalMessages: [message],
      generateMessageId: generateId,
      // Called `onFinish` before version 7 of the AI SDK.
      onEnd: async ({ responseMessage, outcome, finishReason }) => {
        // Half an answer is none. A stream that ended too early is `completed`, but `interrupted`.
        if (outcome.status !== 'completed' || finishReason === 'interrupted') return;
        await context.put(responseMessage, { usage: await result.usage });
      },
      onError: (error) => (error instanceof Error ? error.message : 'The model did not answer.'),
    });
    // A copy is read to its end here, so that the answer is kept although its reader went away.
    return createUIMessageStreamResponse({ stream, consumeSseStream: consumeStream });
  }

  return { read: handled(read), answer: handled(answer) };
}

/** Read the body of a request; what is not as it should be is left out. */
async function asked(request: Request): Promise<{ id?: unknown; message?: UIMessage }> {
  const body = await request.json().catch(() => null);
  const validated = await safeValidateUIMessages({ messages: [body?.message] });
  return { id: body?.id, ...(validated.success && { message: validated.data[0] }) };
}

/** Return a message of the log as a page shows it: as it came, without fastpaca's own fields. */
function toUIMessage({ id, role, parts, seq, metadata }: LogMessage): UIMessage {
  return { id: id ?? `seq-${seq}`, role, parts, metadata } as UIMessage;
}

function refused(error: string, status = 400): Response {
  return Response.json({ error }, { status });
}

/** Answer what fastpaca refuses, or cannot do now, as an error that a page can show. */
function handled(handler: (request: Request) => Promise<Response>) {
  return async (request: Request): Promise<Response> => {
    try {
      return await handler(request);
    } catch (error) {
      if (error instanceof FastpacaError) return refused(error.message, 502);
      throw error;
    }
  };
}
