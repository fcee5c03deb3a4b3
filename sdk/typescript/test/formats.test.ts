/** Formats: what is appended and read as providers have it, and what they bill. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as fastpaca from '../src/index.js';
import { Node } from './node.js';
import { APPENDED, Script } from './scripted.js';

const node = new Node();
let client: fastpaca.Client;
let names = 0;

before(async () => {
  await node.start();
  client = fastpaca.createClient({ baseUrl: node.address });
});
after(() => node.remove());

const context = (): Promise<fastpaca.Context> =>
  client.context(`context ${++names}`, { budget: 8000 });

/** What one append sends: the path behind the context, and the body. */
async function sent(
  appended: unknown,
  options: fastpaca.AppendOptions = {},
): Promise<{ format: string | null; body: Record<string, unknown> }> {
  const answer = { results: [APPENDED.body], ...APPENDED.body };
  const script = new Script({ status: 201, body: answer });
  const handle = await script.client().context('c');
  await (handle.append as (appended: unknown, options: object) => Promise<unknown>)(
    appended,
    options,
  );
  const [asked] = script.asked;
  const format = new URL(asked!.path, 'http://node').searchParams.get('format');
  return { format, body: JSON.parse(asked!.body!) as Record<string, unknown> };
}

async function refusedAs(appended: unknown, field: string, said: RegExp): Promise<void> {
  const refusal = (error: fastpaca.FastpacaError): boolean =>
    error instanceof fastpaca.InvalidRequest && error.field === field && said.test(error.message);
  await assert.rejects(sent(appended), refusal);
}

const CHAT = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'gpt-4o-2024-08-06',
  choices: [
    {
      index: 0,
      finish_reason: 'tool_calls',
      logprobs: null,
      message: {
        role: 'assistant',
        content: null,
        refusal: null,
        parsed: null,
        tool_calls: [
          {
            id: 'c1',
            type: 'function',
            function: { name: 'look', arguments: '{"parsed":1}', parsed_arguments: { parsed: 1 } },
          },
        ],
      },
    },
  ],
  usage: {
    prompt_tokens: 1204,
    completion_tokens: 87,
    total_tokens: 1291,
    prompt_tokens_details: { cached_tokens: 1024 },
  },
};

const RESPONSE = {
  id: 'resp_1',
  object: 'response',
  status: 'completed',
  model: 'gpt-5',
  output_text: 'Hi',
  output: [
    { id: 'rs_1', type: 'reasoning', summary: [], encrypted_content: 'x' },
    {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'Hi', annotations: [], parsed: null }],
    },
  ],
  usage: {
    input_tokens: 20,
    input_tokens_details: { cached_tokens: 4 },
    output_tokens: 30,
    output_tokens_details: { reasoning_tokens: 20 },
    total_tokens: 50,
  },
};

const ANTHROPIC = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-opus-4-1',
  content: [{ type: 'text', text: 'Hi', citations: null }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: {
    input_tokens: 12,
    cache_read_input_tokens: 1000,
    cache_creation_input_tokens: 200,
    output_tokens: 5,
  },
};

const GEMINI = {
  candidates: [
    { content: { role: 'model', parts: [{ text: 'Hi' }] }, finishReason: 'STOP', index: 0 },
  ],
  modelVersion: 'gemini-2.5-pro',
  usageMetadata: {
    promptTokenCount: 40,
    cachedContentTokenCount: 16,
    candidatesTokenCount: 3,
    thoughtsTokenCount: 9,
    toolUsePromptTokenCount: 2,
  },
};

const BEDROCK = {
  output: { message: { role: 'assistant', content: [{ text: 'Hi' }] } },
  stopReason: 'end_turn',
  usage: { inputTokens: 5, outputTokens: 2, totalTokens: 37, cacheReadInputTokens: 30 },
  metrics: { latencyMs: 1 },
};

const AI_SDK = {
  finishReason: 'stop',
  response: { id: 'r', modelId: 'gpt-4o', messages: [] },
  responseMessages: [
    {
      role: 'assistant',
      content: [{ type: 'tool-call', toolCallId: 'c1', toolName: 'look', input: {} }],
    },
    { role: 'assistant', content: [{ type: 'text', text: 'Hi' }] },
  ],
  usage: {
    inputTokens: 90,
    outputTokens: 8,
    totalTokens: 98,
    inputTokenDetails: { noCacheTokens: 20, cacheReadTokens: 64, cacheWriteTokens: 6 },
    outputTokenDetails: { textTokens: 8, reasoningTokens: undefined },
  },
};

test('the response of each provider is appended with its usage', async () => {
  const { message } = CHAT.choices[0]!;
  const { parsed: _, ...reply } = message;
  const made = { name: 'look', arguments: '{"parsed":1}' };
  assert.deepEqual(await sent(CHAT), {
    format: 'openai-chat',
    body: {
      message: { ...reply, tool_calls: [{ ...message.tool_calls[0]!, function: made }] },
      usage: {
        input_tokens: 1204,
        output_tokens: 87,
        cached_input_tokens: 1024,
        model: 'gpt-4o-2024-08-06',
      },
    },
  });

  const { content, ...item } = RESPONSE.output[1]!;
  const { parsed: __, ...part } = content![0]!;
  assert.deepEqual(await sent(RESPONSE), {
    format: 'openai-responses',
    body: {
      messages: [RESPONSE.output[0], { ...item, content: [part] }],
      usage: { input_tokens: 20, output_tokens: 30, cached_input_tokens: 4, model: 'gpt-5' },
    },
  });

  assert.deepEqual(await sent(ANTHROPIC), {
    format: 'anthropic',
    body: {
      message: { role: 'assistant', content: ANTHROPIC.content },
      usage: {
        input_tokens: 1212,
        output_tokens: 5,
        cached_input_tokens: 1000,
        cache_write_tokens: 200,
        model: 'claude-opus-4-1',
      },
    },
  });

  assert.deepEqual(await sent(GEMINI), {
    format: 'gemini',
    body: {
      message: GEMINI.candidates[0]!.content,
      usage: {
        input_tokens: 42,
        output_tokens: 12,
        cached_input_tokens: 16,
        model: 'gemini-2.5-pro',
      },
    },
  });

  assert.deepEqual(await sent(BEDROCK), {
    format: 'bedrock',
    body: {
      message: BEDROCK.output.message,
      usage: { input_tokens: 35, output_tokens: 2, cached_input_tokens: 30 },
    },
  });

  assert.deepEqual(await sent(AI_SDK), {
    format: null,
    body: {
      messages: AI_SDK.responseMessages,
      usage: {
        input_tokens: 90,
        output_tokens: 8,
        cached_input_tokens: 64,
        cache_write_tokens: 6,
        model: 'gpt-4o',
      },
    },
  });
});

test('what the package of OpenAI adds while it streams is not sent again', async () => {
  const [choice] = CHAT.choices;
  const { parsed: _, ...message } = choice!.message;
  const made = { name: 'look', arguments: '{"parsed":1}' };
  const [call] = message.tool_calls;
  const streamed = { ...message, annotations: null, tool_calls: [{ ...call!, index: 0 }] };
  const { body } = await sent({ ...CHAT, choices: [{ ...choice!, message: streamed }] });
  assert.deepEqual(body['message'], { ...message, tool_calls: [{ ...call!, function: made }] });
});

test('the chunks of a stream of Gemini are one message', async () => {
  const said = (...parts: object[]) => ({ candidates: [{ content: { role: 'model', parts } }] });
  const call = { functionCall: { name: 'look', args: {} }, thoughtSignature: 'c2ln' };
  const { modelVersion, usageMetadata } = GEMINI;
  const chunks = [
    said({ text: 'Hm. ', thought: true }),
    said({ text: 'Look.', thought: true }),
    said({ text: 'Let ' }),
    said({ text: 'me see.' }),
    said(call),
    { candidates: [{ index: 0, finishReason: 'STOP' }], modelVersion },
    { usageMetadata },
  ];
  const { format, body } = await sent(chunks);
  assert.equal(format, 'gemini');
  assert.deepEqual(body['message'], {
    role: 'model',
    parts: [{ text: 'Hm. Look.', thought: true }, { text: 'Let me see.' }, call],
  });
  assert.deepEqual(body['usage'], {
    input_tokens: 42,
    output_tokens: 12,
    cached_input_tokens: 16,
    model: 'gemini-2.5-pro',
  });
  await refusedAs(chunks.slice(0, 4), 'message', /no finishReason/);
  await refusedAs([{ usageMetadata }], 'message', /has 0 candidates/);
});

test('results of earlier releases of the AI SDK are appended, and UI streams at their end', async () => {
  const { responseMessages: messages, ...rest } = AI_SDK;
  const totalUsage = { inputTokens: 100, outputTokens: 9, cachedInputTokens: 50 };
  const older = { ...rest, response: { modelId: 'm', messages }, totalUsage };
  const { body } = await sent(older);
  assert.deepEqual(body['messages'], messages);
  assert.deepEqual(body['usage'], {
    input_tokens: 100,
    output_tokens: 9,
    cached_input_tokens: 50,
    model: 'm',
  });
  const unknown = { inputTokens: undefined, outputTokens: undefined };
  assert.equal('usage' in (await sent({ ...AI_SDK, usage: unknown })).body, false);

  const partial = { ...CHAT, usage: { prompt_tokens: 9 } };
  assert.equal('usage' in (await sent(partial)).body, false, 'an incomplete report is none');

  const responseMessage = { id: 'm', role: 'assistant', parts: [{ type: 'text', text: 'Hi' }] };
  const end = { responseMessage, messages: [], isAborted: false, outcome: { status: 'completed' } };
  assert.deepEqual(await sent(end, { usage: AI_SDK.usage }), {
    format: 'ai-sdk',
    body: {
      message: responseMessage,
      usage: {
        input_tokens: 90,
        output_tokens: 8,
        cached_input_tokens: 64,
        cache_write_tokens: 6,
      },
    },
  });
});

test('what is no whole response is refused, and says why', async () => {
  await refusedAs(Promise.resolve(CHAT), 'message', /await/);
  await refusedAs({ object: 'chat.completion.chunk', choices: [] }, 'message', /piece of a stream/);
  await refusedAs({ ...CHAT, choices: [] }, 'message', /0 choices/);
  const twice = [CHAT.choices[0]!, CHAT.choices[0]!];
  await refusedAs({ ...CHAT, choices: twice }, 'message', /2 choices.*one you chose/);
  const open = { ...CHAT.choices[0]!, finish_reason: null };
  await refusedAs({ ...CHAT, choices: [open] }, 'message', /finish_reason is null/);
  await refusedAs({ ...RESPONSE, status: 'in_progress' }, 'message', /in_progress/);
  await refusedAs({ ...RESPONSE, output: [] }, 'message', /no output/);
  await refusedAs({ ...ANTHROPIC, stop_reason: null }, 'message', /stop_reason is null/);
  const [candidate] = GEMINI.candidates;
  const piece = { ...candidate!, finishReason: undefined };
  await refusedAs({ ...GEMINI, candidates: [piece] }, 'message', /piece of a stream/);
  const blocked = { finishReason: 'SAFETY' };
  await refusedAs({ ...GEMINI, candidates: [blocked] }, 'message', /SAFETY/);
  await refusedAs({ promptFeedback: {} }, 'message', /0 candidates/);
  await refusedAs({ ...AI_SDK, responseMessages: Promise.resolve([]) }, 'message', /onEnd/);
  await refusedAs({ ...AI_SDK, responseMessages: [] }, 'message', /no messages/);
  const message = { role: 'assistant', parts: [] };
  await refusedAs({ responseMessage: message, isAborted: true }, 'message', /before the message/);
  await refusedAs([CHAT], 'messages[0]', /by itself/);
  await assert.rejects(sent(CHAT, { format: 'anthropic' }), /openai-chat, not anthropic/);
  await assert.rejects(sent('Hi', { usage: { tokens: 1 } }), /report of a provider/);
  const half = { usage: { prompt_tokens: 1 } };
  await assert.rejects(sent('Hi', half), { field: 'usage.completion_tokens' });
  const odd = { usage: { prompt_tokens: -1, completion_tokens: 1 } };
  await assert.rejects(sent('Hi', odd), { field: 'usage.prompt_tokens' });
});

test('a text is a message of the user in every format', async () => {
  assert.deepEqual((await sent('Hi')).body, { message: { role: 'user', content: 'Hi' } });
  for (const format of ['openai-chat', 'openai-responses', 'anthropic'] as const) {
    const said = { message: { role: 'user', content: 'Hi' } };
    assert.deepEqual(await sent('Hi', { format }), { format, body: said });
  }
  const parts = { message: { role: 'user', parts: [{ text: 'Hi' }] } };
  assert.deepEqual((await sent('Hi', { format: 'gemini' })).body, parts);
  const blocks = { message: { role: 'user', content: [{ text: 'Hi' }] } };
  assert.deepEqual((await sent('Hi', { format: 'bedrock' })).body, blocks);
  const ui = { message: { role: 'user', parts: [{ type: 'text', text: 'Hi' }] } };
  assert.deepEqual((await sent('Hi', { format: 'ai-sdk' })).body, ui);
});

test('a usage of the caller is sent, and counts before that of a response', async () => {
  const usage = { input_tokens: 3, output_tokens: 1, model: undefined };
  const plain = { input_tokens: 3, output_tokens: 1 };
  assert.deepEqual((await sent('Hi', { usage })).body['usage'], plain);
  assert.deepEqual((await sent(CHAT, { usage })).body['usage'], plain);
  const raw = { usage: ANTHROPIC.usage };
  assert.equal(((await sent('Hi', raw)).body['usage'] as typeof plain).input_tokens, 1212);
});

test('bytes travel as base64, and Bedrock is given bytes', async () => {
  const bytes = Uint8Array.from([0, 250, 255]);
  const source = { bytes };
  const image = { role: 'user', content: [{ image: { format: 'png', source } }] };
  const body = (await sent(image, { format: 'bedrock' })).body as { message: typeof image };
  assert.equal(body.message.content[0]!.image.source.bytes as unknown, 'APr/');
  assert.equal(image.content[0]!.image.source.bytes, bytes, 'what the caller has stays as it is');

  const talk = await context();
  await talk.append(
    [
      { role: 'user', content: [{ image: { format: 'png', source } }, { text: 'What is this?' }] },
      { role: 'assistant', content: [{ text: 'A picture.' }] },
      { role: 'user', content: [{ text: 'Of what?' }] },
    ],
    { format: 'bedrock' },
  );
  const view = await talk.context({ format: 'bedrock' });
  const [first] = view.messages as unknown as (typeof image)[];
  assert.deepEqual(first!.content[0]!.image.source.bytes, bytes);
  assert.deepEqual(view.system, []);

  const itself: { role: string; parts: unknown[] } = { role: 'user', parts: [] };
  itself.parts.push(itself);
  await assert.rejects(sent(itself), fastpaca.InvalidRequest);
});

test('a conversation is appended in one format and read in any', async () => {
  const talk = await context();
  await talk.append({ role: 'system', content: 'Be kind.' });
  const { seq } = await talk.append('How far is Lyon?');
  assert.equal(seq, 2);
  const results = await talk.append(RESPONSE);
  assert.deepEqual(
    results.map((result) => result.seq),
    [3, 4],
  );
  await talk.append('Thanks.');

  const chat = await talk.context({ format: 'openai-chat' });
  assert.deepEqual(
    chat.messages.map((message) => (message as { role: string }).role),
    ['system', 'user', 'assistant', 'user'],
  );
  assert.equal(chat.format, 'openai-chat');
  assert.equal(chat.system, undefined);
  assert.deepEqual(chat.losses, [{ code: 'reasoning', seq: 3 }]);

  const claude = await talk.context({ format: 'anthropic', cache: true, budgetTokens: 4000 });
  assert.equal(JSON.stringify(claude.system).includes('Be kind.'), true);
  assert.equal(JSON.stringify(claude).includes('cache_control'), true);
  assert.equal(claude.token_budget, 4000);

  const items = await talk.context({ format: 'openai-responses' });
  assert.deepEqual(items.messages[2], RESPONSE.output[0]);

  const plain = await talk.context({ format: 'parts' });
  assert.equal(plain.messages[1]!.role, 'user');
  const { usage } = await talk.info();
  assert.deepEqual([usage.input_tokens, usage.output_tokens], [20, 30]);
  assert.equal(usage.counted_ratio, null);

  await talk.compact([{ role: 'user', content: 'All' }]);
  await talk.compact([{ role: 'user', parts: [{ text: 'All' }] }], { format: 'gemini' });
  assert.deepEqual((await talk.context()).messages[0]!.parts[0]!['text'], 'All');
  const gemini = await talk.context({ format: 'gemini' });
  assert.deepEqual(gemini.system?.parts, [{ text: 'All' }]); // a summary is pinned
});

test('open calls are closed, dropped or kept', async () => {
  const talk = await context();
  await talk.append('Look.');
  await talk.append(CHAT);
  await talk.append('Never mind.');
  const roles = async (openCalls: fastpaca.OpenCalls): Promise<string[]> => {
    const view = await talk.context({ format: 'openai-chat', openCalls });
    return view.messages.map((message) => (message as { role: string }).role);
  };
  assert.deepEqual(await roles('close'), ['user', 'assistant', 'tool', 'user']);
  assert.deepEqual(await roles('keep'), ['user', 'assistant', 'user']);
  const without = talk.context({ openCalls: 'keep' } as fastpaca.ReadOptions);
  await assert.rejects(without, { field: 'format' });
});
