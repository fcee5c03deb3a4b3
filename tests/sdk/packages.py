"""Providers' packages in a project: the real ones for the compiler, and fakes to run."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Final

from tests.sdk.npm import SDK

REAL: Final = ("openai", "ai", "@anthropic-ai", "@aws-sdk", "@google")
"""What a project needs to see of them; their own packages are found where they lie."""

FAKES: Final = {
    "openai": """
        const message = { role: 'assistant', content: '470 km.', refusal: null };
        const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
        const choices = [{ index: 0, finish_reason: 'stop', message }];
        const completion = { object: 'chat.completion', model: 'gpt-4o', choices, usage };
        const content = [{ type: 'output_text', text: '470 km.', annotations: [] }];
        const item = { id: 'msg_1', type: 'message', role: 'assistant', content };
        const billed = { input_tokens: 9, input_tokens_details: {}, output_tokens: 3 };
        const response = { object: 'response', status: 'completed', output: [item], usage: billed };
        export default class {
          chat = { completions: { create: async (asked) => checked(asked.messages, completion) } };
          responses = { create: async (asked) => checked(asked.input, response) };
        }
    """,
    "@anthropic-ai/sdk": """
        const content = [{ type: 'text', text: '470 km.', citations: null }];
        const usage = { input_tokens: 2, cache_read_input_tokens: 7, output_tokens: 3 };
        const made = { type: 'message', model: 'claude', role: 'assistant', content, usage };
        const message = { ...made, stop_reason: 'end_turn' };
        export default class {
          messages = { create: async (asked) => checked(asked.system && asked.messages, message) };
        }
    """,
    "@google/genai": """
        const content = { role: 'model', parts: [{ text: '470 km.' }] };
        const usageMetadata = { promptTokenCount: 9, candidatesTokenCount: 3 };
        const reply = { candidates: [{ finishReason: 'STOP', content }], usageMetadata };
        export class GoogleGenAI {
          models = { generateContent: async (asked) => checked(asked.contents, reply) };
        }
    """,
    "@aws-sdk/client-bedrock-runtime": """
        const message = { role: 'assistant', content: [{ text: '470 km.' }] };
        const usage = { inputTokens: 9, outputTokens: 3, totalTokens: 12 };
        export class ConverseCommand {
          constructor(input) { this.input = input; }
        }
        export class BedrockRuntimeClient {
          async send(command) {
            const output = { output: { message }, stopReason: 'end_turn', usage };
            return checked(command.input.system && command.input.messages, output);
          }
        }
    """,
    "ai": """
        const content = [{ type: 'text', text: '470 km.' }];
        const usage = { inputTokens: 9, outputTokens: 3, inputTokenDetails: {} };
        const response = { modelId: 'gpt-4o' };
        export const convertToModelMessages = async (messages) => messages;
        export const generateText = async (asked) => {
          const responseMessages = [{ role: 'assistant', content }];
          const result = { responseMessages, response, finishReason: 'stop', usage };
          return checked(asked.messages, result);
        };
    """,
}
"""By name: what answers at once, if it was sent the question of the page."""

_CHECKED: Final = """
        const checked = (messages, answer) => {
          if (!JSON.stringify(messages).includes('How far')) throw new Error('not asked');
          return answer;
        };
"""


def with_packages(tarball: Path, folder: Path) -> Path:
    """Make *folder* a project that has the SDK and the real packages; they are only to be read."""
    installed = _with_sdk(tarball, folder)
    for name in REAL:
        (installed / name).symlink_to(SDK / "node_modules" / name)
    return folder


def with_fakes(tarball: Path, folder: Path) -> Path:
    """Make *folder* a project that has the SDK, and in place of each package its fake."""
    installed = _with_sdk(tarball, folder)
    for name, script in FAKES.items():
        package = installed / name
        package.mkdir(parents=True)
        about = {"name": name, "type": "module", "exports": "./index.js"}
        (package / "package.json").write_text(json.dumps(about))
        (package / "index.js").write_text(_CHECKED + script)
    return folder


def _with_sdk(tarball: Path, folder: Path) -> Path:
    (folder / "package.json").write_text('{"private": true}')
    with tarfile.open(tarball) as archive:
        archive.extractall(folder, filter="data")
    installed = folder / "node_modules"
    installed.mkdir()
    shutil.move(folder / "package", installed / "fastpaca")
    return installed
