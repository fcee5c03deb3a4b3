/**
 * What an append sends: messages as callers have them, and the responses of providers. Pure.
 *
 * A response is recognised by the fields that the provider's API gives it:
 *
 * | response | recognised by |
 * | --- | --- |
 * | OpenAI Chat | `object` is `chat.completion` |
 * | OpenAI Responses | `object` is `response` |
 * | Anthropic | `type` is `message`, and there are `content`, `model` and `usage` |
 * | Gemini | `candidates` or `promptFeedback`, and no `role`; a list of chunks is one response |
 * | Bedrock | `output` with a `message` in it, and neither `role` nor `type` |
 * | AI SDK, result or step | `responseMessages`, or `messages` in `response` |
 * | AI SDK, end of a UI stream | `responseMessage` |
 *
 * Only a whole response is taken: pieces of a stream, and what was not finished, are refused. So is
 * a response with several choices: with which of them the conversation continues is for the caller
 * to decide.
 */

import { withoutBytes } from './bytes.js';
import type { Format } from './formats.js';
import { refused } from './protocol.js';
import { isGemini, joined } from './streams.js';
import { type Fields, type TokenUsage, fieldsOf, isReported, usageOf } from './usage.js';

/** What to append. */
export interface Appending {
  messages: unknown[];
  /** Whether each message has a result of its own; otherwise there is one message. */
  isBatch: boolean;
  format: Format | undefined;
  usage: TokenUsage | undefined;
}

/** Read what a caller appends; *usage* and *format* are the options of the call. */
export function appendingOf(
  appended: unknown,
  format: Format | 'parts' | undefined,
  usage: unknown,
): Appending {
  const named = format === 'parts' ? undefined : format;
  const given = usage === undefined || usage === null ? undefined : usageOf(usage);
  if (typeof appended === 'string') {
    const messages = [userMessage(appended, named)];
    return { messages, isBatch: false, format: named, usage: given };
  }
  if (Array.isArray(appended)) {
    const chunks = appended.map(fieldsOf);
    if (chunks.length > 0 && chunks.every(isGemini)) {
      return appendingOf(joined(chunks), format, usage);
    }
    const messages = listedOf(appended, 'messages');
    return { messages, isBatch: true, format: named, usage: given };
  }
  const response = responseOf(fieldsOf(appended));
  if (!response) {
    return { messages: [withoutBytes(appended)], isBatch: false, format: named, usage: given };
  }
  if (format !== undefined && named !== response.format) {
    const own = response.format ?? 'parts';
    throw refused(`This is a response in the format ${own}, not ${format}.`, 'format');
  }
  const messages = response.messages.map(withoutBytes);
  return { ...response, messages, usage: given ?? response.usage };
}

/** Return the messages of a list as they are sent; *field* is what the list is called. */
export function listedOf(messages: readonly unknown[], field: string): unknown[] {
  return messages.map((message, index) => {
    if (responseOf(fieldsOf(message))) {
      throw refused('Append the response of a provider by itself.', `${field}[${index}]`);
    }
    return withoutBytes(message);
  });
}

function userMessage(text: string, format: Format | undefined): object {
  if (format === 'gemini') return { role: 'user', parts: [{ text }] };
  if (format === 'bedrock') return { role: 'user', content: [{ text }] };
  if (format === 'ai-sdk') return { role: 'user', parts: [{ type: 'text', text }] };
  return { role: 'user', content: text };
}

const unusable = (reason: string) => refused(reason, 'message');

/** Read the fields of a response; undefined if they are not those of one. */
function responseOf(fields: Fields): Appending | undefined {
  if (typeof fields['then'] === 'function') throw unusable('This is a promise: await it first.');
  if (fields['object'] === 'chat.completion.chunk') {
    throw unusable('This is a piece of a stream. Append the whole message once it is complete.');
  }
  if (fields['object'] === 'chat.completion') return ofOpenAIChat(fields);
  if (fields['object'] === 'response') return ofOpenAIResponses(fields);
  const has = (key: string): boolean => fields[key] !== undefined;
  if (fields['type'] === 'message' && has('content') && has('model') && has('usage')) {
    return ofAnthropic(fields);
  }
  if (has('role') || has('type')) return undefined;
  if (isGemini(fields)) return ofGemini(fields);
  const output = fieldsOf(fields['output']);
  if (output['message'] !== undefined) return ofBedrock(fields, output['message']);
  if (has('responseMessage')) return ofUIStream(fields);
  const messages = fields['responseMessages'] ?? fieldsOf(fields['response'])['messages'];
  return messages === undefined ? undefined : ofAISDK(fields, messages);
}

function one(message: unknown, format: Format, usage?: TokenUsage): Appending {
  return { messages: [message], isBatch: false, format, usage };
}

/** What was billed, if the response says both what went in and what came out. */
function billed(usage: unknown, model?: unknown): TokenUsage | undefined {
  return isReported(usage) ? usageOf(usage, model) : undefined;
}

function onlyOf(choices: unknown, name: string, rest: string): Fields {
  const listed = Array.isArray(choices) ? choices : [];
  if (listed.length === 1) return fieldsOf(listed[0]);
  const advice = listed.length ? ` Append ${rest}, with its usage.` : '';
  throw unusable(`The response has ${listed.length} ${name}, and one can be appended.${advice}`);
}

function checkFinished(fields: Fields, name: string): void {
  if (fields[name] === null) throw unusable(`The response is not finished: its ${name} is null.`);
}

/** What the providers' packages have read of a text, which is in no provider's API. */
function without(value: unknown, ...keys: string[]): Fields {
  const entries = Object.entries(fieldsOf(value)).filter(([key]) => !keys.includes(key));
  return Object.fromEntries(entries);
}

function mapped(value: unknown, map: (item: unknown) => unknown): unknown {
  return Array.isArray(value) ? value.map(map) : value;
}

function ofOpenAIChat(fields: Fields): Appending {
  const choice = onlyOf(fields['choices'], 'choices', 'the message of the one you chose');
  checkFinished(choice, 'finish_reason');
  const { tool_calls, annotations, ...rest } = without(choice['message'], 'parsed');
  const message =
    annotations === null || annotations === undefined ? rest : { ...rest, annotations };
  const calls = mapped(tool_calls, (call) => {
    const made = without(call, 'index'); // only a stream has it
    const called = made['function'];
    return called ? { ...made, function: without(called, 'parsed_arguments') } : made;
  });
  const said = tool_calls === undefined ? message : { ...message, tool_calls: calls };
  return one(said, 'openai-chat', billed(fields['usage'], fields['model']));
}

function ofOpenAIResponses(fields: Fields): Appending {
  const { status, output } = fields;
  if (status === 'queued' || status === 'in_progress') {
    throw unusable(`The response is not finished: its status is ${status}.`);
  }
  if (!Array.isArray(output) || output.length === 0) {
    throw unusable(`The response has no output; its status is ${String(status)}.`);
  }
  const messages = output.map((item) => {
    const { content, ...rest } = without(item, 'parsed_arguments');
    if (content === undefined) return rest;
    return { ...rest, content: mapped(content, (part) => without(part, 'parsed')) };
  });
  const usage = billed(fields['usage'], fields['model']);
  return { messages, isBatch: true, format: 'openai-responses', usage };
}

function ofAnthropic(fields: Fields): Appending {
  checkFinished(fields, 'stop_reason');
  const content = mapped(fields['content'], (block) => without(block, 'parsed_output'));
  const message = { role: fields['role'] ?? 'assistant', content };
  return one(message, 'anthropic', billed(fields['usage'], fields['model']));
}

function ofGemini(fields: Fields): Appending {
  const candidate = onlyOf(fields['candidates'], 'candidates', 'the content of the one you chose');
  const { finishReason } = candidate;
  if (finishReason === undefined || finishReason === null) {
    throw unusable(
      'This is a piece of a stream: its candidate has no finishReason.' +
        ' Append a list of all its chunks.',
    );
  }
  const content = fieldsOf(candidate['content']);
  if (!Array.isArray(content['parts']) || content['parts'].length === 0) {
    throw unusable(`The candidate has no content; its finishReason is ${String(finishReason)}.`);
  }
  const usage = billed(fields['usageMetadata'], fields['modelVersion']);
  return one({ role: 'model', ...content }, 'gemini', usage);
}

function ofBedrock(fields: Fields, message: unknown): Appending {
  return one(message, 'bedrock', billed(fields['usage']));
}

/** The event at the end of a UI stream; what was billed is in the result of `streamText`. */
function ofUIStream(fields: Fields): Appending {
  const { outcome, finishReason, isAborted, responseMessage } = fields;
  const status = fieldsOf(outcome)['status'] ?? 'completed';
  if (isAborted === true || status !== 'completed' || finishReason === 'interrupted') {
    throw unusable('The stream ended before the message was complete.');
  }
  return one(responseMessage, 'ai-sdk');
}

/** The result of `generateText`, one of its steps, or the event at the end of `streamText`. */
function ofAISDK(fields: Fields, messages: unknown): Appending {
  if (typeof fieldsOf(messages)['then'] === 'function') {
    throw unusable('This is a stream. Append what onEnd of streamText is called with.');
  }
  if (!Array.isArray(messages) || messages.length === 0) {
    throw unusable('The result has no messages.');
  }
  const model = fieldsOf(fields['response'])['modelId'];
  const usage = billed(fields['totalUsage'] ?? fields['usage'], model);
  return { messages, isBatch: true, format: undefined, usage };
}
