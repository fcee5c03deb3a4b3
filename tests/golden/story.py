"""
The story that a golden database tells: contexts in every state, messages in every shape.

`life` is what happens, `reads` what can be read at any time, and `sequel` how life goes on in a
process that has only the file. Texts are short, since the file is kept for ever.
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Final
from urllib.parse import quote

from tests.golden.exchange import Ask
from tests.kit.messages import assistant, message, system, tool, user

Json = dict[str, Any]

LONG_ID: Final = "é" * 256
"""512 bytes, the longest that an id may have."""

UNFINISHED: Final = "purged/unfinished"
"""The context whose erasure is cut short, so that whoever opens the file next must finish it."""

SECRET: Final = "to be erased for good"

TRIMMED: Final[dict[str, Json]] = {
    "limit": {"strategy": "last_n", "config": {"limit": 5}},
    "tokens": {"strategy": "last_n", "config": {"target_ratio": 0.25}},
    "user": {"strategy": "last_n", "config": {"limit": 9, "start_on_user": True}},
    "skip": {"strategy": "skip_parts", "config": {"limit": 12}},
    "skip tool": {"strategy": "skip_parts", "config": {"skip_kinds": ["tool"], "limit": 14}},
    "skip reasoning": {"strategy": "skip_parts", "config": {"skip_kinds": ["reasoning"]}},
    "skip use": {"strategy": "skip_parts", "config": {"skip_kinds": ["tool_use", "server_"]}},
    "skip function": {"strategy": "skip_parts", "config": {"skip_kinds": ["function", "image"]}},
    "skip dash": {"strategy": "skip_parts", "config": {"skip_kinds": ["tool-", "file", "step"]}},
}
"""The contexts that live through `AGENT`, by policy."""

PLAIN_IDS: Final = (
    *("agent/late", "manual", "manual/over", "cut", "cut/pinned", "counts", "numbers", "keyed"),
    *("changed", "empty", "é/ü %2F?#", "x" * 128, "y" * 129, LONG_ID, "deleted"),
    *("formats", "calls", "edited", "edited/fork", "edited/whole"),
)
IDS: Final = (*TRIMMED, *PLAIN_IDS, "purged", "z" * 300, UNFINISHED, "never was")
"""Every context that is read, those that are not there included."""

KEYED: Final = ("k-one", "k-many", "k-compact", "k-deleted")


def part(kind: str, **more: Any) -> Json:
    """Make a part."""
    return {"type": kind, **more}


def called(kind: str, key: str, name: str, **more: Any) -> Json:
    """Make an assistant's message that calls a tool."""
    return assistant(part(kind, **{key: name}, name="look", **more))


AGENT: Final[list[Json]] = [
    system("You are brief."),
    message("developer", "Never guess."),
    user("What is the weather in Oslo, and why?"),
    assistant(
        part("reasoning", text="They ask for the weather."),
        "I look.",
        part("tool_call", tool_call_id="a1", name="weather", arguments={"city": "Oslo"}),
    ),
    tool(part("tool_result", tool_call_id="a1", output="Rain, 7 degrees.")),
    assistant("It rains.", metadata={"model": "m-1"}),
    user("And in Rome?", id="caller-7", name="Ann"),
    assistant(
        part("thinking", thinking="Rome …", signature="c2ln"),
        part("redacted_thinking", data="b3BhcXVl"),
        part("tool_use", id="b1", name="weather", input={"city": "Rome"}),
        part("tool_use", id="b2", name="news", input={}),
    ),
    user(
        part("tool_result", tool_use_id="b1", content="Sun."),
        part("tool_result", tool_use_id="b2", content=[part("text", text="None.")]),
    ),
    assistant(
        part("server_tool_use", id="c1", name="web_search", input={"query": "Rome"}),
        part("web_search_tool_result", tool_use_id="c1", content=[]),
        "Sunny, no news.",
    ),
    user("Compare them."),
    assistant("", tool_calls=[{"id": "d1", "function": {"name": "f", "arguments": "{}"}}]),
    tool("Oslo is wetter.", tool_call_id="d1"),
    called("function_call", "call_id", "e1", arguments="{}"),
    tool(part("function_call_output", call_id="e1", output="ok")),
    called("tool-call", "toolCallId", "f1", input={}),
    tool(part("tool-result", toolCallId="f1", output={"type": "text", "value": "ok"})),
    assistant(
        part("step-start"),
        part("tool-weather", toolCallId="g1", state="output-available", output={"t": 7}),
        part("dynamic-tool", toolCallId="g2", toolName="x", state="input-streaming"),
        "Done.",
    ),
    user(
        part("text", text="Look at these."),
        part("image_url", image_url={"url": "https://example.com/a.png"}),
        part("file", mediaType="text/plain", url="https://example.com/a.txt"),
        part("x-mine", anything=[None, True]),
        token_count=40,
    ),
    assistant(),
    assistant("I see. " * 12),
    called("tool_call", "tool_call_id", "h1"),
    called("tool_call", "tool_call_id", "h2"),
    tool(part("tool_result", tool_call_id="h2", output="second")),
    user("Thank you. " * 8),
]
"""A conversation with calls and results in every shape; the call `h1` is never answered."""

NUMBERS: Final = (
    '{"message":{"role":"user","parts":[{"type":"n","big":'
    + str(2**70)
    + ',"one":1.0,"exp":1E400,"zero":-0,"twice":1,"twice":2,"nul":"\\u0000","\\u00e9":"\\ud83d'
    + '\\ude00"}],"metadata":{"deep":[[[[{}]]]],"i":9007199254740993},"extra":null}}'
)


class _Teller:
    """Writes down requests, a second after another."""

    def __init__(self, start: int) -> None:
        self.asks: list[Ask] = []
        self._seconds = count(start)

    def put(self, name: str, **fields: Any) -> None:
        self._ask("PUT", name, "", fields)

    def patch(self, name: str, metadata: Json) -> None:
        self._ask("PATCH", name, "/metadata", {"metadata": metadata})

    def append(self, name: str, *messages: Json, key: str | None = None, **more: Any) -> None:
        """Append messages, a single one not as a list."""
        said: Json = {"messages": messages} if len(messages) > 1 else {"message": messages[0]}
        self._ask("POST", name, "/messages", {**said, **more}, key)

    def compact(self, name: str, *messages: Json, key: str | None = None, **more: Any) -> None:
        self._ask("POST", name, "/compact", {"replacement": messages, **more}, key)

    def put_message(self, name: str, message_id: str, message: Json) -> None:
        self._ask("PUT", name, f"/messages/{message_id}", {"message": message})

    def go_back(self, name: str, **where: int) -> None:
        self.post(name, "rewind", where)

    def post(self, name: str, place: str, body: Json) -> None:
        self._ask("POST", name, f"/{place}", body)

    def delete(self, name: str, query: str = "") -> None:
        self.raw("DELETE", target(name) + query)

    def raw(self, method: str, where: str, body: str = "", key: str | None = None) -> None:
        self.asks.append(Ask(method, where, body, key, next(self._seconds)))

    def _ask(self, method: str, name: str, place: str, body: Json, key: str | None = None) -> None:
        written = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        self.raw(method, target(name) + place, written, key)


def target(name: str) -> str:
    """Give the path of a context."""
    return f"/v1/contexts/{quote(name, safe='')}"


def logged(seq: int, version: int, message: Json) -> Json:
    """Give a message as a reader of the log gives it back, to be referred to."""
    return {"seq": seq, "version": version, **message}


def life() -> list[Ask]:
    """Tell what happens, up to a purge that is cut short."""
    told = _Teller(0)
    for name, policy in TRIMMED.items():
        told.put(name, token_budget=600, trigger_ratio=0.5, policy=policy)
        told.append(name, *AGENT[:9])
        for one in AGENT[9:16]:
            told.append(name, one)
        told.append(name, *AGENT[16:])
    _agent_that_is_late(told)
    _owners(told)
    _sizes(told)
    _configurations(told)
    _formats(told)
    _calls(told)
    _edits(told)
    _ends(told)
    return told.asks


def _agent_that_is_late(told: _Teller) -> None:
    """Let calls be cut out while they wait; the results of some come, and stay out."""
    told.put("agent/late", token_budget=120, policy={"strategy": "last_n", "config": {"limit": 4}})
    told.append("agent/late", user("Do all of it."), called("tool_use", "id", "l1"))
    told.append("agent/late", called("tool_use", "id", "l2"), assistant("Wait."))
    told.append("agent/late", *(assistant(f"Meanwhile {n} " * 6) for n in range(4)))
    both = [part("tool_result", tool_use_id="l1", content="late"), part("text", text="Here.")]
    told.append("agent/late", user(*both))
    told.append("agent/late", user("Go on.", token_count=30), user("Yes.", token_count=40))


def _owners(told: _Teller) -> None:
    """Let owners rewrite their windows: references, summaries, both, nothing."""
    said = [system("Be kind."), *(user(f"Line {n}") for n in range(2, 8))]
    for name, budget in (("manual", 8000), ("manual/over", 10)):
        told.put(name, token_budget=budget, policy={"strategy": "manual"})
        told.append(name, *said)
        summary = assistant("So far: lines.", metadata={"by": "owner"})
        told.compact(name, logged(1, 1, said[0]), summary, logged(6, 6, said[5]), if_version=7)
        told.append(name, called("function_call", "call_id", "m1"), user("Line 9"))
        told.compact(
            name, summary, user("Line 9, shorter", token_count=2), logged(9, 10, user("Line 9"))
        )
    told.compact("manual")
    answer = tool(part("function_call_output", call_id="m1", output="cut before"))
    told.append("manual", user("After nothing."), answer)


def _sizes(told: _Teller) -> None:
    """Say what is too long, what costs nothing, and what costs more than all budgets."""
    told.put("cut", token_budget=330)
    told.append("cut", system("Keep it short. " * 6), user("Été 🌊 " * 300))
    told.append("cut", called("tool_call", "tool_call_id", "n1"))
    told.append("cut", tool(part("tool_result", tool_call_id="n1", output="ü" * 1500)))
    told.put("cut/pinned", token_budget=320)
    told.append("cut/pinned", system("Rule 1: … " * 160), user("Which rules?"))
    told.put("counts", token_budget=100)
    told.append("counts", user("free", token_count=0), user("dear", token_count=2**53 - 1))
    told.append("counts", *(assistant(f"some {n}", token_count=30) for n in range(4)))
    told.put("numbers", metadata={"big": 2**70, "one": 1.0, "nested": {"null": None}})
    told.raw("POST", f"{target('numbers')}/messages", NUMBERS)


def _configurations(told: _Teller) -> None:
    """Change what can be changed, in the middle of a life."""
    told.put("changed", token_budget=200, metadata={"v": 1})
    told.append("changed", *AGENT[:12])
    told.put("changed", policy={"strategy": "skip_parts"}, trigger_ratio=0.5)
    told.append("changed", *AGENT[12:18])
    told.put("changed", policy={"strategy": "last_n", "config": {"limit": 4}})
    told.append("changed", *AGENT[18:])
    told.put("changed", policy={"strategy": "manual"}, token_budget=2**53 - 1, trigger_ratio=1)
    told.patch("changed", {"v": None, "w": {"é": [1.50, "\u0000"]}})
    told.patch("changed", {"w2": 2**64})


def _formats(told: _Teller) -> None:
    """Append messages as providers have them, and summarise in the same way."""
    told.put("formats")
    told.append("formats", {"role": "system", "content": "Be kind."})
    told.append("formats", {"role": "user", "content": [{"type": "text", "text": "Hello"}]})
    made = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    told.append("formats", {"role": "assistant", "content": None, "tool_calls": [made]})
    answered = {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]}
    shown = json.dumps({"message": answered}, separators=(",", ":"))
    told.raw("POST", f"{target('formats')}/messages?format=gemini", shown)


def _calls(told: _Teller) -> None:
    """Report what calls cost: enough of them for a ratio, then a trim and another model."""
    told.put("calls", token_budget=900)
    for number in range(24):
        usage = {"input_tokens": 500 + 40 * number, "output_tokens": 9, "model": "m-1"}
        told.append("calls", user(f"Question {number}"), assistant("An answer."), usage=usage)
    told.append("calls", assistant("x" * 2000), usage={"input_tokens": 1600, "output_tokens": 600})
    last = {"input_tokens": 1700, "cached_input_tokens": 900, "cache_write_tokens": 5}
    told.append("calls", assistant("Done."), usage={**last, "output_tokens": 2, "model": "m-2"})


def _edits(told: _Teller) -> None:
    """Let messages grow, go back and forth, and fork what has become of it."""
    told.put("edited", token_budget=240, metadata={"title": "Edits"})
    told.append("edited", system("Be kind."), user("Question 1", id="q1"))
    call = part("tool-look", toolCallId="e1", input={"at": "sky"})
    for state in ({"state": "input-available"}, {"state": "output-available", "output": "blue"}):
        told.put_message("edited", "a1", assistant({**call, **state}))
    told.append("edited", user("Question 2"), assistant("Answer 2. " * 40))
    told.append("edited", user("Question 3"), assistant("Answer 3. " * 40))
    told.put_message("edited", "q1", user("Question 1, asked better"))
    told.go_back("edited", to_seq=5)
    told.append("edited", assistant("Another answer 2. " * 9))
    told.go_back("edited", to_version=8)
    told.put_message("edited", "late", assistant("Said later"))
    told.put_message("edited", "late", assistant("Said later, and longer"))
    told.post("edited", "fork", {"id": "edited/fork"})
    told.post("edited", "fork", {"id": "edited/whole", "at_version": 4, "metadata": {}})


def _ends(told: _Teller) -> None:
    """Name contexts in every way, retry requests, and delete and purge."""
    for name in ("empty", "é/ü %2F?#", "x" * 128, "y" * 129, LONG_ID):
        told.put(name, metadata={"bytes": len(name.encode())})
        if name != "empty":
            told.append(name, user("Hello"))
    told.put("keyed")
    told.append("keyed", user("once"), key="k-one")
    told.append("keyed", user("twice"), user("thrice"), key="k-many")
    told.compact("keyed", user("all of it"), key="k-compact")
    told.put("deleted", metadata={"kept": True})
    told.append("deleted", *AGENT[:6], key="k-deleted")
    told.delete("deleted")
    for name in ("purged", "z" * 300, UNFINISHED):
        told.put(name, metadata={"secret": SECRET})
        usage = {"input_tokens": 1, "output_tokens": 1, "model": SECRET}
        told.append(name, user(SECRET), assistant(SECRET), key=f"k-{name[:9]}", usage=usage)
        told.compact(name, user(f"Summary: {SECRET}"))
        told.delete(name, "?purge=true")


def retries() -> list[Ask]:
    """Send again what was sent under a key, and what purged and deleted contexts refuse."""
    again = [ask for ask in life() if ask.key in KEYED]
    asks = [ask._replace(at=10_000) for ask in again]
    asks += [again[0]._replace(body=again[0].body.replace("once", "else"), at=10_000)]
    for name in ("purged", UNFINISHED, "deleted"):
        asks.append(Ask("PUT", target(name), "{}", None, 10_000))
    return asks


def reads() -> list[Ask]:
    """Read everything in every way."""
    asks = [*retries(), Ask("GET", "/v1/contexts"), Ask("GET", "/v1/contexts?prefix=skip&limit=2")]
    for name in IDS:
        path = target(name)
        asks.append(Ask("GET", path))
        asks.append(Ask("GET", f"{path}/context"))
        asks += [Ask("GET", f"{path}/context?budget_tokens={n}") for n in _budgets(name)]
        # Contexts of one conversation have one log.
        if name not in TRIMMED or name == "limit":
            asks.append(Ask("GET", f"{path}/messages"))
            asks.append(Ask("GET", f"{path}/tail?offset=1&limit=2"))
        asks.append(Ask("GET", f"{path}/compactions"))
        asks += [Ask("GET", f"{path}/context?at_version={n}") for n in _versions(name)]
    for name in ("edited", "edited/fork"):
        asks.append(Ask("GET", f"{target(name)}/messages?path=current"))
        asks.append(Ask("GET", f"{target(name)}/context?explain=true"))
        asks += [Ask("GET", f"{target(name)}/messages/{one}") for one in ("q1", "a1", "late")]
    asks.append(Ask("GET", f"{target('limit')}/messages?from_seq=-3&to_seq=24"))
    return asks


def _budgets(name: str) -> tuple[int, ...]:
    """Choose what else to fit a window under; most of them say nothing new."""
    if name in ("limit", "skip", "manual/over", "cut", "cut/pinned", "counts"):
        return (1, 9, 30, 60, 280, 400)
    return (50,) if name in ("manual", "changed", "agent/late", "deleted") else ()


def _versions(name: str) -> tuple[int, ...]:
    """Choose which windows of the past to read."""
    if name in ("tokens", "skip tool"):
        return (0, 12, 13, 19, 25)
    if name == "edited":
        return tuple(range(14))
    return {"agent/late": (3, 7, 9, 10), "manual": (7, 8, 9, 11, 12)}.get(name, ())


def sequel() -> list[Ask]:
    """Go on: messages that trim, late results, replacements, changes; then read all again."""
    told = _Teller(20_000)
    late = tool(part("tool_result", tool_call_id="h1", output="first, at last"))
    for name in TRIMMED:
        told.append(name, late, assistant("More? ", token_count=120))
        told.append(name, user("Yes.", token_count=90), key=f"s-{name}")
        told.append(name, assistant("More!", token_count=95))
    told.append("agent/late", user(part("tool_result", tool_use_id="l2", content="too late")))
    told.append("agent/late", assistant("End. ", token_count=40))
    told.append("cut", user("And again. ", token_count=500))
    told.append("counts", user("small", token_count=1))
    usage = {"input_tokens": 1790, "output_tokens": 2, "model": "m-2"}
    told.append("calls", user("More?"), assistant("No."), usage=usage)
    told.append("manual/over", user("Line 10", token_count=3))
    told.compact("manual/over", logged(10, 12, user("Line 10")), user("New summary", token_count=4))
    told.put("changed", policy={"strategy": "skip_parts"}, token_budget=90, trigger_ratio=0.6)
    told.append("changed", user("Shrink. ", token_count=50))
    told.put_message("edited", "q1", user("Question 1, at last"))
    told.go_back("edited", to_version=11)
    told.append("edited/fork", user("And now? " * 20), assistant("Nothing. " * 20))
    told.patch("deleted", {"kept": False})
    told.delete("keyed")
    return [*told.asks, *reads()]
