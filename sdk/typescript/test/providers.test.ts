/**
 * The types of the providers' own packages, which are installed here: what is appended and read is
 * theirs. Most of this file is checked by the compiler alone.
 */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import type Anthropic from '@anthropic-ai/sdk';
import type { ConverseCommandInput, ConverseCommandOutput } from '@aws-sdk/client-bedrock-runtime';
import type { GenerateContentParameters, GenerateContentResponse } from '@google/genai';
import type { GenerateTextResult, ModelMessage, UIMessage } from 'ai';
import type OpenAI from 'openai';

import type { Context } from '../src/index.js';
import { Script } from './scripted.js';

// The compiled tests lie elsewhere, without packages next to them.
const { resolve } = createRequire(join(process.cwd(), 'package.json'));
const { convertToModelMessages, validateUIMessages } = (await import(
  resolve('ai')
)) as typeof import('ai');

/** With `any` in place of a type, these would be true of anything. */
type IsAny<T> = 0 extends 1 & T ? true : false;
const isKnown = <T>(_: T, isAny: IsAny<T>): IsAny<T> => isAny;

export async function withOpenAI(talk: Context, openai: OpenAI): Promise<void> {
  const chat = await talk.context({ format: 'openai-chat', openCalls: 'drop' });
  const { messages } = chat;
  isKnown(messages[0]!, false);
  const completion = await openai.chat.completions.create({ model: 'gpt-4o', messages });
  (await talk.append(completion, { ifVersion: chat.version })).seq;
  await talk.append(completion.choices[0]!.message, { format: 'openai-chat' });
  const usage = completion.usage!;
  await talk.append(messages, { format: 'openai-chat', usage });

  const items = await talk.context({ format: 'openai-responses' });
  isKnown(items.messages[0]!, false);
  const response = await openai.responses.create({ model: 'gpt-5', input: items.messages });
  (await talk.append(response)).map((result) => result.seq);
  await talk.append(response.output, { format: 'openai-responses' });
  await talk.append({ role: 'user', content: 'Hi' } as const, { format: 'openai-responses' });
  // @ts-expect-error: several messages have a count each
  await talk.append(response.output, { format: 'openai-responses', tokenCount: 3 });
  // @ts-expect-error: no message of OpenAI has such parts
  await talk.append({ role: 'user', parts: [{ text: 'Hi' }] }, { format: 'openai-chat' });
}

export async function withAnthropic(talk: Context, anthropic: Anthropic): Promise<void> {
  const { messages, system } = await talk.context({ format: 'anthropic', cache: true });
  isKnown(messages[0]!, false);
  isKnown(system[0]!, false);
  const about = { model: 'claude-opus-4-1', max_tokens: 1000 };
  const message = await anthropic.messages.create({ ...about, messages, system });
  (await talk.append(message)).seq;
  await talk.append(messages, { format: 'anthropic', usage: message.usage });
  await talk.append({ role: 'user', content: [{ type: 'text', text: 'Hi' }] });
}

export async function withGemini(
  talk: Context,
  generate: (parameters: GenerateContentParameters) => Promise<GenerateContentResponse>,
): Promise<void> {
  const { messages: contents, system } = await talk.context({ format: 'gemini' });
  isKnown(contents[0]!, false);
  const config = system ? { systemInstruction: system } : {};
  const response = await generate({ model: 'gemini-2.5-pro', contents, config });
  (await talk.append(response)).seq;
  await talk.append({ role: 'user', parts: [{ text: 'Hi' }] }, { format: 'gemini' });
}

export async function withBedrock(
  talk: Context,
  converse: (input: ConverseCommandInput) => Promise<ConverseCommandOutput>,
): Promise<void> {
  const { messages, system } = await talk.context({ format: 'bedrock' });
  isKnown(messages[0]!, false);
  const output = await converse({ modelId: 'amazon.nova', messages, system });
  (await talk.append(output)).seq;
  await talk.append({ role: 'user', content: [{ text: 'Hi' }] }, { format: 'bedrock' });
}

type Told = UIMessage<{ by: string }>;

export async function withAISDK(
  talk: Context,
  result: GenerateTextResult<never, never, never>,
): Promise<ModelMessage[]> {
  (await talk.append(result)).map(({ seq }) => seq);
  (await talk.append(result.finalStep)).map(({ seq }) => seq);
  const { messages } = await talk.context({ format: 'ai-sdk' });
  isKnown(messages[0]!, false);
  const told = await talk.context<'ai-sdk', Told>({ format: 'ai-sdk' });
  told.messages[0]?.metadata?.by.at(0);
  await talk.append(messages, { format: 'ai-sdk' });
  await talk.append(told.messages[0]!);
  return convertToModelMessages(messages);
}

const VIEW = {
  version: 1,
  used_tokens: 1,
  needs_compaction: false,
  segments: [],
  token_budget: 8000,
  window_tokens: 1,
  fit: 'whole',
  stable_messages: 1,
  repairs: [],
  losses: [],
};

test('the AI SDK takes a view as it is', async () => {
  const messages = [{ id: 'seq-1', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }];
  const body = { ...VIEW, format: 'ai-sdk', messages, system: 'Be kind.' };
  const talk = await new Script({ status: 200, body }).client().context('c');
  const view = await talk.context({ format: 'ai-sdk' });
  const system: string | undefined = view.system;
  assert.equal(system, 'Be kind.');
  assert.deepEqual(await validateUIMessages({ messages: view.messages }), messages);
  assert.deepEqual(await convertToModelMessages(view.messages), [
    { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
  ]);
});

test('a read names the format and what it wants', async () => {
  const script = new Script({ status: 200, body: { ...VIEW, format: 'anthropic', messages: [] } });
  const talk = await script.client().context('c');
  const options = { openCalls: 'drop', cache: true, budgetTokens: 5 } as const;
  const view = await talk.context({ format: 'anthropic', ...options });
  assert.deepEqual(view.system, []);
  const [asked] = script.asked;
  const query = Object.fromEntries(new URL(asked!.path, 'http://node').searchParams);
  assert.deepEqual(query, {
    budget_tokens: '5',
    format: 'anthropic',
    open_calls: 'drop',
    cache: 'true',
  });
});
