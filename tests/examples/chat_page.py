"""
A page with the class behind `useChat`, in a real browser: the packages of the AI SDK as published.

The hook of React is a thin layer over `AbstractChat`, which is all that speaks to a route. The page
loads it from `node_modules` by an import map; nothing is bundled. What only a server needs of the
packages is replaced by an empty module.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import httpx

from tests.examples.world import EXAMPLES

MODULES: Final = EXAMPLES / "node-chat/node_modules"

IMPORTS: Final = {
    "ai": "ai/dist/index.js",
    "@ai-sdk/gateway": "@ai-sdk/gateway/dist/index.js",
    "@ai-sdk/provider": "@ai-sdk/provider/dist/index.js",
    "@ai-sdk/provider-utils": "@ai-sdk/provider-utils/dist/index.js",
    "@workflow/serde": "@workflow/serde/dist/index.js",
    "eventsource-parser/stream": "eventsource-parser/dist/stream.js",
    "zod/v4": "zod/v4/index.js",
    "zod/v4/core": "zod/v4/core/index.js",
    "zod/v4/mini": "zod/v4/mini/index.js",
    "zod/v4/locales/en.js": "zod/v4/locales/en.js",
}

SERVER_ONLY: Final = "export const getContext = () => ({}), getVercelOidcToken = () => '';"

PAGE: Final = """<!doctype html>
<script type="importmap">%s</script>
<link rel="icon" href="data:,">
<main id="messages"></main>
<button id="approve" hidden>Approve</button>
<script type="module">
import {
  AbstractChat, DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
} from 'ai';

const id = new URL(location).searchParams.get('id');
const approve = document.querySelector('#approve');

class State {
  status = 'ready';
  error = undefined;
  #messages = [];
  get messages() { return this.#messages; }
  set messages(messages) { this.#messages = messages; this.show(); }
  pushMessage(message) { this.messages = [...this.messages, message]; }
  popMessage() { this.messages = this.messages.slice(0, -1); }
  replaceMessage(at, message) { this.messages = this.messages.with(at, this.snapshot(message)); }
  snapshot(value) { return structuredClone(value); }
  show() {
    const lines = this.messages.map(({ role, parts }) => {
      const line = document.createElement('p');
      line.textContent = `${role}: ` + parts.map((part) => part.text ?? part.state ?? '').join(' ');
      return line;
    });
    document.querySelector('#messages').replaceChildren(...lines);
    const part = this.messages.flatMap(({ parts }) => parts)
      .find(({ state }) => state === 'approval-requested');
    approve.hidden = part === undefined;
    approve.onclick = () => chat.addToolApprovalResponse({ id: part.approval.id, approved: true });
  }
}

class Chat extends AbstractChat {
  constructor(init) { super({ ...init, state: new State() }); }
}

const chat = new Chat({
  id,
  transport: new DefaultChatTransport({
    prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, message: messages.at(-1) } }),
  }),
  sendAutomaticallyWhen: (state) =>
    lastAssistantMessageIsCompleteWithApprovalResponses(state) ||
    lastAssistantMessageIsCompleteWithToolCalls(state),
  onToolCall: ({ toolCall }) => {
    if (toolCall.toolName !== 'local_time') return;
    chat.addToolOutput({ tool: 'local_time', toolCallId: toolCall.toolCallId, output: '09:30' });
  },
  onError: (error) => console.error(error),
});
chat.messages = await (await fetch(`/api/chat?id=${encodeURIComponent(id)}`)).json();
globalThis.chat = chat;
</script>
"""


@contextmanager
def served(route: str) -> Iterator[str]:
    """Serve the page, its modules and the *route*, all from one origin; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/api/chat":
                self.relay("GET")
            elif path == "/server-only.js":
                self.give(SERVER_ONLY.encode(), "text/javascript")
            elif path.startswith("/modules/"):
                file = MODULES / path.removeprefix("/modules/")
                self.give(file.read_bytes(), "text/javascript")
            else:
                imports = {name: f"/modules/{file}" for name, file in IMPORTS.items()}
                imports["@vercel/oidc"] = "/server-only.js"
                self.give((PAGE % json.dumps({"imports": imports})).encode(), "text/html")

        def do_POST(self) -> None:
            self.relay("POST")

        def relay(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = route + "".join(self.path.partition("?")[1:])
            with httpx.stream(method, url, content=body, timeout=30) as response:
                self.send_response(response.status_code)
                self.send_header("content-type", response.headers["content-type"])
                self.end_headers()
                for piece in response.iter_raw():
                    self.wfile.write(piece)

        def give(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
