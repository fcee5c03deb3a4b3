/** An agent on Gemini: it streams, calls tools, and keeps its conversation. */

import { createInterface } from 'node:readline';
import { createPartFromFunctionResponse, createUserContent, GoogleGenAI } from '@google/genai';
import { type Context, createClient } from 'fastpaca';
import { description, name, parameters, tools } from './tools.ts';

const model = new GoogleGenAI({});
const declaration = { name, description, parametersJsonSchema: parameters };

export async function answer(chat: Context): Promise<void> {
  for (;;) {
    const view = await chat.context({ format: 'gemini' });
    const stream = await model.models.generateContentStream({
      model: 'gemini-3-pro',
      contents: view.messages,
      config: { systemInstruction: view.system, tools: [{ functionDeclarations: [declaration] }] },
    });
    const chunks = [];
    for await (const chunk of stream) {
      process.stdout.write(chunk.text ?? '');
      chunks.push(chunk);
    }
    await chat.append(chunks);
    const results = [];
    for (const call of chunks.flatMap((chunk) => chunk.functionCalls ?? [])) {
      const output = await tools.order_status(call.args as { order_id: string });
      results.push(createPartFromFunctionResponse(call.id ?? '', call.name ?? '', { output }));
    }
    if (results.length === 0) return;
    await chat.append(createUserContent(results), { format: 'gemini' });
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
