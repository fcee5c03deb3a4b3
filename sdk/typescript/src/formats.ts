/**
 * The formats of providers, and what each calls a message: the type of the provider's own package
 * if that is installed, else an object.
 */

import type * as peers from './peers.js';
import type { ContentMessage, LlmContext, NewMessage } from './types.js';

/** Return *T*, or *Fallback* if the package that it is from is not installed: then it is `any`. */
type Known<T, Fallback> = 0 extends 1 & T ? Fallback : T;

/** A message of a provider as JSON, where the type of its package is not known. */
export type JsonMessage = Record<string, unknown>;

/** What one message of each format is, as a view has it. */
export interface MessageOf {
  'openai-chat': Known<peers.ChatMessage, JsonMessage>;
  'openai-responses': Known<peers.ResponsesItem, JsonMessage>;
  anthropic: Known<peers.AnthropicMessage, JsonMessage>;
  gemini: Known<peers.GeminiContent, JsonMessage>;
  bedrock: Known<peers.BedrockMessage, JsonMessage>;
  'ai-sdk': Known<peers.UIMessage, JsonMessage>;
}

/** What stands apart from the messages as instructions, in a view of each format. */
interface SystemOf {
  'openai-chat': undefined;
  'openai-responses': undefined;
  anthropic: Known<peers.AnthropicText, JsonMessage>[];
  gemini: Known<peers.GeminiContent, JsonMessage> | undefined;
  bedrock: Known<peers.BedrockSystem, JsonMessage>[];
  'ai-sdk': string | undefined;
}

/** What can be appended in each format: what a view has, and what a provider answers. */
interface AppendableOf {
  'openai-chat': Known<peers.ChatMessage, object> | Known<peers.ChatReply, object>;
  'openai-responses': Known<peers.ResponsesItem, object> | Known<peers.ResponsesOutput, object>;
  anthropic: Known<peers.AnthropicMessage, object>;
  gemini: Known<peers.GeminiContent, object>;
  bedrock: Known<peers.BedrockMessage, object>;
  'ai-sdk': Known<peers.UIMessage, object> | NewMessage;
}

/** The name of a provider's form of messages. */
export type Format = keyof MessageOf;

/** A message to append in the format *F*. */
export type MessageIn<F extends Format> = AppendableOf[F];

/** What becomes of calls that will not get their result any more. */
export type OpenCalls = 'close' | 'drop' | 'keep';

/** What was put right in a view, so that the provider accepts it. */
export interface Repair {
  code: string;
  /** The message it was made for; absent for a summary or the whole list. */
  seq?: number;
  /** The id of the call. */
  call?: string;
}

/** What a view could not say. */
export interface Loss {
  code: string;
  /** The message that said more; null for a summary. */
  seq: number | null;
}

/** The LLM context as a provider takes it. */
export interface ProviderView<F extends Format, M = MessageOf[F]> extends Omit<
  LlmContext,
  'messages'
> {
  format: F;
  messages: M[];
  /**
   * The instructions, where the provider wants them apart from the messages. For Anthropic and
   * Bedrock it is an empty list if there are none, so that it can always be passed on.
   */
  system: SystemOf[F];
  repairs: Repair[];
  losses: Loss[];
}

/** The response of OpenAI Chat. */
interface ChatResponse {
  object: string;
  choices: readonly unknown[];
}

/** The response of Anthropic. */
interface AnthropicResponse {
  type: string;
  content: readonly unknown[];
  model: string;
  usage: object;
}

/** The response of Gemini, or a chunk of its stream. */
export interface GeminiResponse {
  candidates?: readonly unknown[];
  modelVersion?: string;
}

/** The response of Bedrock; of several kinds, one has a message. */
interface BedrockResponse {
  output: object | undefined;
  stopReason: string | undefined;
}

/** The event at the end of a UI stream of the AI SDK. */
interface UIStreamEnd {
  responseMessage: object;
}

/** A response that is one message. */
export type SingleResponse =
  ChatResponse | AnthropicResponse | GeminiResponse | BedrockResponse | UIStreamEnd;

/** The response of OpenAI Responses. */
interface ResponsesResponse {
  object: string;
  output: readonly unknown[];
}

/** The result of `generateText` of the AI SDK, one of its steps, or the end of `streamText`. */
interface AISDKResult {
  response: object;
  finishReason: string;
  usage: object;
}

/** A response that may be several messages, each with a result of its own. */
export type BatchResponse = ResponsesResponse | AISDKResult;

/** A message without the name of a format. */
export type PlainMessage = NewMessage | ContentMessage;
