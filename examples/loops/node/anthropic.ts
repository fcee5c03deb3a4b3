/** An agent on Anthropic Messages: it streams, thinks, calls tools, and keeps its conversation. */

import { createInterface } from 'node:readline';
import Anthropic from '@anthropic-ai/sdk';
import { type Context, createClient } from 'fastpaca';
import { description, name, parameters, tools } from './tools.ts';

const model = new Anthropic();

export async function answer(chat: Context): Promise<void> {
  for (;;) {
    const view = await chat.context({ format: 'anthropic', cache: true });
    const stream = model.messages.stream({
      model: 'claude-opus-5-5',
      max_tokens: 16_000,
      system: view.system,
      messages: view.messages,
      tools: [{ name, description, input_schema: parameters }],
      thinking: { type: 'adaptive' },
    });
    stream.on('text', (piece) => process.stdout.write(piece));
    const message = await stream.finalMessage();
    await chat.append(message);
    const results = [];
    for (const block of message.content) {
      if (block.type !== 'tool_use') continue;
      const content = await tools.order_status(block.input as { order_id: string });
      results.push({ type: 'tool_result', tool_use_id: block.id, content });
    }
    if (results.length === 0) return;
    await chat.append({ role: 'user', content: results });
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
