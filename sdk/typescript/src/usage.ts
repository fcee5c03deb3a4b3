/**
 * What a provider billed for a call, read from its report. Pure.
 *
 * Providers count differently, and this is one meaning for all: `input_tokens` is the whole prompt,
 * whether it was read from a cache, written to one or neither. So reads and writes of a cache are
 * added where a provider reports them apart (Anthropic, Bedrock), and are not where its sum has them
 * (OpenAI, Gemini, the AI SDK).
 */

import { refused } from './protocol.js';

/** What a provider billed for one call. */
export interface TokenUsage {
  /** Everything that was billed as input, read from a cache or not. */
  input_tokens: number;
  /** Everything that was billed as output, reasoning included. */
  output_tokens: number;
  /** How many of the input tokens were read from a cache. */
  cached_input_tokens?: number | undefined;
  /** How many of the input tokens were written to a cache. */
  cache_write_tokens?: number | undefined;
  /** The model, as the provider names it. */
  model?: string | undefined;
}

export type Fields = Readonly<Record<string, unknown>>;

const OWN = new Set([
  'input_tokens',
  'output_tokens',
  'cached_input_tokens',
  'cache_write_tokens',
  'model',
]);

/** Return the fields of an object; other values have none. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

/**
 * Read a usage: a `TokenUsage`, or a provider's own report.
 *
 * *model* is the model if the report doesn't say. Returns undefined if the AI SDK doesn't know what
 * was billed; throws `InvalidRequest` if it is no report.
 */
export function usageOf(report: unknown, model?: unknown): TokenUsage | undefined {
  const fields = fieldsOf(report);
  const keys = Object.keys(fields).filter((key) => fields[key] !== undefined);
  const reader = readerOf(fields, keys);
  if (!reader) {
    const names = [...OWN].join(', ');
    throw refused(`A usage has ${names}, or is the report of a provider.`, 'usage');
  }
  const usage = reader(fields);
  if (usage === undefined) return undefined;
  const named = usage.model ?? (typeof model === 'string' && model !== '' ? model : undefined);
  const present = Object.entries({ ...usage, model: named }).filter(([, value]) => value != null);
  return Object.fromEntries(present) as unknown as TokenUsage;
}

/** The counts that each provider always reports. */
const COUNTS = [
  ['prompt_tokens', 'completion_tokens'],
  ['input_tokens', 'output_tokens'],
  ['promptTokenCount'],
  ['inputTokens', 'outputTokens'],
];

/** Return whether a usage has the counts that the report of some provider always has. */
export function isReported(usage: unknown): boolean {
  const fields = fieldsOf(usage);
  return COUNTS.some((names) => names.every((name) => fields[name] != null));
}

type Reader = (fields: Fields) => TokenUsage | undefined;

function readerOf(fields: Fields, keys: readonly string[]): Reader | undefined {
  if ('prompt_tokens' in fields) return ofOpenAIChat;
  if ('promptTokenCount' in fields) return ofGemini;
  if ('inputTokens' in fields) return ofBedrockOrAISDK;
  if (!('input_tokens' in fields)) return undefined;
  return keys.every((key) => OWN.has(key)) ? own : ofOpenAIResponsesOrAnthropic;
}

function own(fields: Fields): TokenUsage {
  return fields as unknown as TokenUsage;
}

function count(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw refused('A count of tokens is an integer, 0 or more.', `usage.${name}`);
  }
  return value as number;
}

function needed(fields: Fields, name: string): number {
  const value = count(fields, name);
  if (value === undefined) throw refused(`A usage needs ${name}.`, `usage.${name}`);
  return value;
}

function ofOpenAIChat(fields: Fields): TokenUsage {
  const details = fieldsOf(fields['prompt_tokens_details']);
  return {
    input_tokens: needed(fields, 'prompt_tokens'),
    output_tokens: needed(fields, 'completion_tokens'),
    cached_input_tokens: count(details, 'cached_tokens'),
    cache_write_tokens: count(details, 'cache_write_tokens'),
  };
}

function ofOpenAIResponsesOrAnthropic(fields: Fields): TokenUsage {
  const details = fieldsOf(fields['input_tokens_details']);
  const read = count(fields, 'cache_read_input_tokens');
  const written = count(fields, 'cache_creation_input_tokens');
  return {
    input_tokens: needed(fields, 'input_tokens') + (read ?? 0) + (written ?? 0),
    output_tokens: needed(fields, 'output_tokens'),
    cached_input_tokens: read ?? count(details, 'cached_tokens'),
    cache_write_tokens: written ?? count(details, 'cache_write_tokens'),
  };
}

/** The prompt includes what was cached; what tools brought in and what was thought stand apart. */
function ofGemini(fields: Fields): TokenUsage {
  const prompt = needed(fields, 'promptTokenCount');
  const tools = count(fields, 'toolUsePromptTokenCount') ?? 0;
  const said = count(fields, 'candidatesTokenCount') ?? 0;
  const thought = count(fields, 'thoughtsTokenCount') ?? 0;
  return {
    input_tokens: prompt + tools,
    output_tokens: said + thought,
    cached_input_tokens: count(fields, 'cachedContentTokenCount'),
  };
}

/** Only Bedrock has `cacheReadInputTokens`; the AI SDK's sum has them already. */
function ofBedrockOrAISDK(fields: Fields): TokenUsage | undefined {
  const input = count(fields, 'inputTokens');
  const output = count(fields, 'outputTokens');
  if (input === undefined || output === undefined) return undefined;
  const read = count(fields, 'cacheReadInputTokens');
  const written = count(fields, 'cacheWriteInputTokens');
  const details = fieldsOf(fields['inputTokenDetails']);
  return {
    input_tokens: input + (read ?? 0) + (written ?? 0),
    output_tokens: output,
    cached_input_tokens:
      read ?? count(details, 'cacheReadTokens') ?? count(fields, 'cachedInputTokens'),
    cache_write_tokens: written ?? count(details, 'cacheWriteTokens'),
  };
}
