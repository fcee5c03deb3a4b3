/** An agent on OpenAI Chat Completions: it streams, calls tools, and keeps its conversation. */

import { createInterface } from 'node:readline';
import { type Context, createClient } from 'fastpaca';
import OpenAI from 'openai';
import { description, name, parameters, tools } from './tools.ts';

const model = new OpenAI();

export async function answer(chat: Context): Promise<void> {
  for (;;) {
    const view = await chat.context({ format: 'openai-chat' });
    const stream = model.chat.completions.stream({
      model: 'gpt-5.6',
      messages: view.messages,
      tools: [{ type: 'function', function: { name, description, parameters } }],
      stream_options: { include_usage: true },
    });
    stream.on('content', (piece) => process.stdout.write(piece));
    const completion = await stream.finalChatCompletion();
    await chat.append(completion);
    const calls = completion.choices[0]?.message.tool_calls ?? [];
    if (calls.length === 0) return;
    for (const call of calls) {
      if (call.type !== 'function') continue;
      const content = await tools.order_status(JSON.parse(call.function.arguments));
      await chat.append({ role: 'tool', tool_call_id: call.id, content });
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
