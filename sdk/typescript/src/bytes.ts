/**
 * Bytes in messages: JSON has none, so they travel as base64. Pure.
 */

/** How many bytes become characters at once; an engine takes so many arguments. */
const BYTES_AT_ONCE = 8192;

/** Return *value* with base64 in place of bytes; itself, if it has none or is no JSON. */
export function withoutBytes(value: unknown): unknown {
  try {
    return replaced(value);
  } catch {
    return value; // it contains itself, which is refused when it is written
  }
}

function replaced(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return base64Of(value);
  if (value instanceof ArrayBuffer) return base64Of(new Uint8Array(value));
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return value;
  if (Array.isArray(value)) {
    const items = value.map(replaced);
    return items.some((item, index) => item !== value[index]) ? items : value;
  }
  const before = Object.entries(value);
  const after = before.map(([key, inner]) => [key, replaced(inner)] as const);
  const isSame = after.every(([, inner], index) => inner === before[index]![1]);
  return isSame ? value : Object.fromEntries(after);
}

function base64Of(view: ArrayBufferView): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let text = '';
  for (let at = 0; at < bytes.length; at += BYTES_AT_ONCE) {
    text += String.fromCharCode(...bytes.subarray(at, at + BYTES_AT_ONCE));
  }
  return btoa(text);
}

type Fields = Record<string, unknown>;

const MEDIA = ['image', 'document', 'video', 'audio'];

/**
 * Let messages of Bedrock have bytes where its package takes them, and would encode base64 a second
 * time. Changes *messages*.
 */
export function restoreBytes(messages: readonly unknown[]): void {
  for (const message of messages) restoreBlocks(fieldsOf(message)['content']);
}

function restoreBlocks(blocks: unknown): void {
  for (const block of Array.isArray(blocks) ? blocks.map(fieldsOf) : []) {
    for (const holder of [block, fieldsOf(block['guardContent'])]) {
      for (const name of MEDIA) restore(fieldsOf(fieldsOf(holder[name])['source']), 'bytes');
    }
    restore(fieldsOf(block['reasoningContent']), 'redactedContent');
    restoreBlocks(fieldsOf(block['toolResult'])['content']);
  }
}

function restore(holder: Fields, key: string): void {
  const text = holder[key];
  if (typeof text !== 'string') return;
  try {
    holder[key] = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    // What is no base64 came from elsewhere, and stays for the provider to judge.
  }
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}
