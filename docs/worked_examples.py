# ruff: noqa: T201 - a script that prints
"""
The worked examples of the pages on policies, run against a node.

    python3 docs/worked_examples.py NAME

Needs nothing but Python. Every example creates its own context and purges it at the end.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import struct
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

Json = dict[str, Any]


class Node:
    """A running node, spoken to over HTTP."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send a request and give what it answers; end with the message of an error."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            sys.exit(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer else {}

    @contextmanager
    def conversation(self, strategy: str, token_budget: int, **config: object) -> Iterator[Talk]:
        """Make a context, and purge it at the end."""
        path = f"/v1/contexts/worked-example-{uuid.uuid4()}"
        policy = {"strategy": strategy, "config": config}
        self.call("PUT", path, {"token_budget": token_budget, "policy": policy})
        try:
            yield Talk(self, path)
        finally:
            self.call("DELETE", f"{path}?purge=true")


class Talk:
    """One context of a node."""

    def __init__(self, node: Node, path: str) -> None:
        self._node = node
        self._path = path

    def say(self, role: str, *parts: Json | str, tokens: int | None = None) -> Json:
        """Append a message; *tokens* is the caller's own count, and a str is a text part."""
        message: Json = {
            "role": role,
            "parts": [text(p) if isinstance(p, str) else p for p in parts],
        }
        if tokens is not None:
            message["token_count"] = tokens
        return self._node.call("POST", f"{self._path}/messages", {"message": message})

    def read(self, budget_tokens: int | None = None) -> Json:
        """Read the LLM context."""
        query = "" if budget_tokens is None else "?" + urlencode({"budget_tokens": budget_tokens})
        return self._node.call("GET", f"{self._path}/context{query}")

    def compact(self, replacement: Sequence[Json]) -> Json:
        """Replace the window."""
        body = {"replacement": list(replacement)}
        return self._node.call("POST", f"{self._path}/compact", body)

    def tail(self) -> list[Json]:
        """Read the newest messages of the log."""
        messages: list[Json] = self._node.call("GET", f"{self._path}/tail")["messages"]
        return messages


def text(value: str) -> Json:
    """Make a text part."""
    return {"type": "text", "text": value}


def tool_call(call_id: str, name: str, **payload: object) -> Json:
    """Make the part of a call."""
    return {"type": "tool_call", "tool_call_id": call_id, "name": name, "payload": payload}


def tool_result(call_id: str, content: str) -> Json:
    """Make the part of a result."""
    return {"type": "tool_result", "tool_call_id": call_id, "content": content}


def seqs(view: Json) -> str:
    """Name the messages of a view: runs of seqs, and S for each synthetic message."""
    runs: list[list[int] | None] = []
    for message in view["messages"]:
        seq = message["seq"]
        last = runs[-1] if runs else None
        if seq is None:
            runs.append(None)
        elif last is not None and seq == last[1] + 1:
            last[1] = seq
        else:
            runs.append([seq, seq])
    names = (
        "S" if run is None else f"{run[0]}" if run[0] == run[1] else f"{run[0]}-{run[1]}"
        for run in runs
    )
    return ", ".join(names) or "none"


def table(*rows: Sequence[object]) -> None:
    """Print *rows* in columns; the last column is the only one set left."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        right = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        print("  ".join([*right, row[-1]]).rstrip())


def alternate(talk: Talk, messages: int, tokens: int) -> Iterator[tuple[int, Json]]:
    """Append so many messages of so many tokens, user and assistant in turn; read after each."""
    for number in range(1, messages + 1):
        role = "user" if number % 2 else "assistant"
        talk.say(role, f"Message {number}.", tokens=tokens)
        yield number, talk.read()


# --- the examples ---


def trim(node: Node) -> None:
    """`last_n` lets a window grow to its trigger and cuts it to its target."""
    with node.conversation("last_n", 1000) as talk:
        rows = [(n, view["window_tokens"], seqs(view)) for n, view in alternate(talk, 14, 100)]
    table(("message", "window_tokens", "messages in the window"), *rows)


def limit(node: Node) -> None:
    """`limit` acts when a compaction runs, and not before."""
    with node.conversation("last_n", 1000, limit=3) as talk:
        rows = [(n, view["window_tokens"], seqs(view)) for n, view in alternate(talk, 14, 100)]
    table(("message", "window_tokens", "messages in the window"), *rows)


def cache(node: Node) -> None:
    """A window that is cut rarely and deeply keeps its beginning; one that slides does not."""
    rows = []
    for target_ratio in (0.3, 0.5, 0.6, 0.7):
        beginnings, sent, repeated = 0, 0, 0
        before: list[Json] = []
        with node.conversation("last_n", 4000, target_ratio=target_ratio) as talk:
            for number in range(1, 201, 2):
                talk.say("user", f"Message {number}.", tokens=100)
                view = talk.read()  # for the call of the model, which answers
                talk.say("assistant", f"Message {number + 1}.", tokens=100)
                messages = view["messages"]
                beginnings += messages[:1] != before[:1]
                sent += view["used_tokens"]
                repeated += 100 * common_prefix(before, messages)
                before = messages
        rows.append((target_ratio, beginnings, sent, repeated, f"{repeated / sent:.0%}"))
    table(("target_ratio", "beginnings", "tokens sent", "of them repeated", "share"), *rows)


def common_prefix(left: Sequence[Json], right: Sequence[Json]) -> int:
    """Count the messages that both begin with."""
    size = 0
    while size < min(len(left), len(right)) and left[size] == right[size]:
        size += 1
    return size


def agent(node: Node) -> None:
    """A running agent keeps its instructions, its task and its newest steps."""
    rows = []
    with node.conversation("last_n", 2000) as talk:
        talk.say("system", "You are a travel agent.", tokens=50)
        talk.say("user", "Find me the cheapest flight to Lima in May.", tokens=50)
        for step in range(1, 9):
            call_id = f"call_{step}"
            talk.say("assistant", tool_call(call_id, "search", day=step), tokens=50)
            talk.say("tool", tool_result(call_id, f"{900 - step} EUR"), tokens=250)
            view = talk.read()
            rows.append((step, view["window_tokens"], seqs(view)))
    table(("step", "window_tokens", "messages in the window"), *rows)


def strip(node: Node) -> None:
    """`skip_parts` takes tool calls, results and reasoning out of finished turns."""
    weather = {"type": "reasoning", "text": "The user wants the weather, so I look it up. " * 10}
    with node.conversation("skip_parts", 1000) as talk:
        talk.say("user", "What is the weather in Cusco?")
        talk.say("assistant", weather, tool_call("call_1", "weather", place="Cusco"))
        talk.say(
            "tool", tool_result("call_1", "Station 84686: 14 degrees, clear, wind 3 m/s. " * 20)
        )
        talk.say("assistant", "14 degrees and clear.")
        before = talk.read()
        talk.say("user", "And in Lima?")
        talk.say("assistant", tool_call("call_2", "weather", place="Lima"))
        talk.say("tool", tool_result("call_2", "Station 84628: 19 degrees, fog, wind 2 m/s. " * 10))
        after = talk.read()
        log = talk.tail()
    for name, messages in (
        ("before", before["messages"]),
        ("after", after["messages"]),
        ("log", log),
    ):
        rows = [(m["seq"], m["token_count"], m["role"], parts_of(m)) for m in messages]
        total = sum(message["token_count"] for message in messages)
        print(f"{name}: {total:,} tokens")
        table(("seq", "tokens", "role", "parts"), *rows)
        print()


def parts_of(message: Json) -> str:
    """Name the types of the parts of a message."""
    return ", ".join(part["type"] for part in message["parts"])


def manual(node: Node) -> None:
    """Under `manual` the application summarises when the flag tells it to."""
    with node.conversation("manual", 1000) as talk:
        talk.say("system", "You are a travel agent.", tokens=50)
        for number, view in alternate(talk, 8, 100):
            if view["needs_compaction"]:
                print(f"message {number + 1}: needs_compaction")
                show(view)
                summary = {"role": "user", "parts": [text("So far: …")], "token_count": 60}
                first, *_, newest = view["messages"]
                talk.compact([first, summary, newest])
                print("after compact")
                show(talk.read())


def show(view: Json) -> None:
    """Print what a view holds."""
    runs = ", ".join(f"{run['type']} {run['from_seq']}-{run['to_seq']}" for run in view["segments"])
    print(f"  window_tokens {view['window_tokens']}, messages {seqs(view)}, segments {runs}")


def fit(node: Node) -> None:
    """One window, read with several budgets; nothing of it is stored."""
    rows = []
    with node.conversation("last_n", 4000) as talk:
        for _ in alternate(talk, 20, 100):
            pass
        for budget in (4000, 2000, 1999, 1000, 500, 100, 99):
            view = talk.read(budget)
            needs = str(view["needs_compaction"]).lower()
            rows.append((budget, view["used_tokens"], view["fit"], needs, seqs(view)))
    table(("budget_tokens", "used_tokens", "fit", "needs_compaction", "messages"), *rows)


def cut(node: Node) -> None:
    """A result that is larger than the whole budget is cut in the middle."""
    listing = "\n".join(f"{number:05d} alpaca" for number in range(1, 2001))
    with node.conversation("last_n", 1000) as talk:
        talk.say("user", "List all the alpacas.")
        talk.say("assistant", tool_call("call_1", "list_alpacas"))
        answer = talk.say("tool", tool_result("call_1", listing))
        view = talk.read()
    print(f"token_estimate of the result: {answer['token_estimate']:,}")
    print(f"window_tokens: {view['window_tokens']:,}")
    print(f"used_tokens: {view['used_tokens']:,}, fit: {view['fit']}, messages: {seqs(view)}")
    lines = view["messages"][-1]["parts"][0]["content"].split("\n")
    marker = next(index for index, line in enumerate(lines) if line.startswith("[..."))
    print("\n".join(lines[marker - 2 : marker + 3]))


def count(node: Node) -> None:
    """What messages cost, counted by the node."""
    greeting = "¿Cuánto mide una alpaca?"
    messages: list[tuple[str, str, list[Json]]] = [
        ("user", "no part at all", []),
        ("user", '"Hello"', [text("Hello")]),
        ("user", '"Hello" twice', [text("Hello"), text("Hello")]),
        ("user", greeting, [text(greeting)]),
        ("user", "羊驼有多高?", [text("羊驼有多高?")]),
        ("assistant", "a call", [tool_call("call_1", "weather", place="Lima")]),
        ("user", "a PNG of 800 × 600", [image(800, 600)]),
        ("user", "the same with 1 MB of data", [image(800, 600, 1_000_000)]),
        (
            "user",
            "an image behind a URL",
            [{"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}],
        ),
    ]
    with node.conversation("last_n", 1_000_000) as talk:
        rows = [
            (talk.say(role, *parts)["token_estimate"], role, name) for role, name, parts in messages
        ]
    table(("token_estimate", "role", "message"), *rows)


def image(width: int, height: int, data_bytes: int = 0) -> Json:
    """Make the part of an image, of which only the header is real."""
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\2\0\0\0"
    data = base64.b64encode(header + bytes(data_bytes)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source}


EXAMPLES: dict[str, Callable[[Node], None]] = {
    example.__name__: example
    for example in (trim, limit, cache, agent, strip, manual, fit, cut, count)
}


def main() -> None:
    """Run the example that the command line names."""
    parser = argparse.ArgumentParser(description="Run a worked example against a node.")
    parser.add_argument("name", choices=EXAMPLES, help="the example")
    parser.add_argument("--url", default="http://127.0.0.1:4000", help="default: %(default)s")
    parser.add_argument("--api-key", help="the key of the node, if it has one")
    arguments = parser.parse_args()
    EXAMPLES[arguments.name](Node(arguments.url, arguments.api_key))


if __name__ == "__main__":
    main()
