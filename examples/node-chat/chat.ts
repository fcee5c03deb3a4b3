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
  type LanguageModel,
  safeValidateUIMessages,
  streamText,
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
    const messages = await context.getTail({ limit: 200 });
    return Response.json(messages.filter((message) => message.role !== 'system').map(toUIMessage));
  }

  /** POST {id, message}: append the user's message, stream an answer, append that. */
  async function answer(request: Request): Promise<Response> {
    const { id, message } = await asked(request);
    if (typeof id !== 'string' || !id) return refused('Which chat? Give its id.');
    if (message?.role !== 'user' || !message.id) return refused('Send the message of the user.');

    const context = await open(id);
    await context.append(message, { idempotencyKey: `${id}/${message.id}` });

    const view = await context.context({ format: 'ai-sdk', budgetTokens: budget });
    const result = streamText({
      model,
      instructions: view.system,
      messages: await convertToModelMessages(view.messages),
    });

    const stream = toUIMessageStream({
      stream: result.stream,
      originalMessages: [message],
      generateMessageId: generateId,
      // Called `onFinish` before version 7 of the AI SDK.
      onEnd: async ({ responseMessage, outcome, finishReason }) => {
        // Half an answer is none. A stream that ended too early is `completed`, but `interrupted`.
        if (outcome.status !== 'completed' || finishReason === 'interrupted') return;
        const idempotencyKey = `${id}/${responseMessage.id}`;
        await context.append(responseMessage, { idempotencyKey, usage: await result.usage });
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
