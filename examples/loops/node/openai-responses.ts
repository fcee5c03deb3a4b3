/** An agent on OpenAI Responses: it streams, calls tools, and keeps its conversation. */

import { createInterface } from 'node:readline';
import { type Context, createClient } from 'fastpaca';
import OpenAI from 'openai';
import { description, name, parameters, tools } from './tools.ts';

const model = new OpenAI();

export async function answer(chat: Context): Promise<void> {
  for (;;) {
    const view = await chat.context({ format: 'openai-responses' });
    const stream = model.responses.stream({
      model: 'gpt-5.6',
      input: view.messages,
      tools: [{ type: 'function', strict: false, name, description, parameters }],
      store: false, // fastpaca keeps the items; reasoning comes sealed
      include: ['reasoning.encrypted_content'],
    });
    stream.on('response.output_text.delta', (event) => process.stdout.write(event.delta));
    const response = await stream.finalResponse();
    await chat.append(response);
    const calls = response.output.filter((item) => item.type === 'function_call');
    if (calls.length === 0) return;
    for (const call of calls) {
      const output = await tools.order_status(JSON.parse(call.arguments));
      const result = { type: 'function_call_output', call_id: call.call_id, output } as const;
      await chat.append(result, { format: 'openai-responses' });
    }
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
