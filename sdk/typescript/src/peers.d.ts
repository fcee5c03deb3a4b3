/**
 * Types of the providers' own packages, for those who have them installed.
 *
 * None of the packages is a dependency. Of one that isn't there, the compiler would complain, so
 * each line tells it not to; the type is then `any`, which `Known` in `formats.ts` notices. This
 * file is copied as it stands, because a compiler may drop such comments.
 */

/** @ts-ignore: the package may not be installed */
export type ChatMessage = import('openai/resources/chat/completions').ChatCompletionMessageParam;

/** @ts-ignore: the package may not be installed */
export type ChatReply = import('openai/resources/chat/completions').ChatCompletionMessage;

/** @ts-ignore: the package may not be installed */
export type ResponsesItem = import('openai/resources/responses/responses').ResponseInputItem;

/** @ts-ignore: the package may not be installed */
export type ResponsesOutput = import('openai/resources/responses/responses').ResponseOutputItem;

/** @ts-ignore: the package may not be installed */
export type AnthropicMessage = import('@anthropic-ai/sdk/resources/messages').MessageParam;

/** @ts-ignore: the package may not be installed */
export type AnthropicText = import('@anthropic-ai/sdk/resources/messages').TextBlockParam;

/** @ts-ignore: the package may not be installed */
export type GeminiContent = import('@google/genai', {
  with: { 'resolution-mode': 'import' },
}).Content;

/** @ts-ignore: the package may not be installed */
export type BedrockMessage = import('@aws-sdk/client-bedrock-runtime').Message;

/** @ts-ignore: the package may not be installed */
export type BedrockSystem = import('@aws-sdk/client-bedrock-runtime').SystemContentBlock;

/** @ts-ignore: the package may not be installed */
export type UIMessage = import('ai', { with: { 'resolution-mode': 'import' } }).UIMessage;
