/** An agent on the AI SDK: it streams, calls tools, and keeps its conversation. */

import { createInterface } from 'node:readline';
import { openai } from '@ai-sdk/openai';
import { convertToModelMessages, streamText, tool } from 'ai';
import { type Context, createClient } from 'fastpaca';
import { z } from 'zod';
import { description, tools } from './tools.ts';

const inputSchema = z.object({ order_id: z.string() });
const execute = (input: { order_id: string }) => tools.order_status(input);

export async function answer(chat: Context): Promise<void> {
  for (;;) {
    const view = await chat.context({ format: 'ai-sdk' });
    const result = streamText({
      model: openai('gpt-5.6'),
      ...(view.system !== undefined && { instructions: view.system }),
      messages: await convertToModelMessages(view.messages),
      tools: { order_status: tool({ description, inputSchema, execute }) },
      providerOptions: { openai: { store: false } },
    });
    for await (const piece of result.textStream) process.stdout.write(piece);
    const [step] = await result.steps;
    if (step === undefined) return;
    await chat.append(step);
    if (step.finishReason !== 'tool-calls') return;
  }
}

if (import.meta.main) {
  const chat = await createClient().context('support/1', { budget: 4_000 });
  process.stdout.write('> ');
  for await (const said of createInterface({ input: process.stdin })) {
    await chat.append(said);
    await answer(chat);
    process.stdout.write('\n> ');
  }
}
