"""The AI SDK itself accepts the UI messages."""

from __future__ import annotations

from fastpaca.formats import render
from tests.formats.ai_sdk import verdicts
from tests.formats.histories import history
from tests.formats.samples import LISTS, Appended
from tests.formats.test_official import MADE


def test_ai_sdk_accepts_renderings() -> None:
    """
    `validateUIMessages` and `convertToModelMessages` accept what other formats become, and random
    conversations.
    """
    lists = [
        Appended(listed, name).rendered("ai-sdk").messages
        for source in (LISTS, MADE)
        for name, listed_all in source.items()
        for listed in listed_all
    ]
    lists += [render(history(seed), "ai-sdk").messages for seed in range(100)]
    lists = [messages for messages in lists if messages]
    refused = [
        (verdict, messages)
        for verdict, messages in zip(verdicts(lists), lists, strict=True)
        if verdict != "ok"
    ]
    assert refused == []


def test_provider_options_of_model_messages_become_metadata() -> None:
    """
    What only the provider understands, such as sealed reasoning and ids of items, comes along, so
    that `convertToModelMessages` gives it back; thinking that is bound to what was cut does not.
    """
    ours = {"openai": {"itemId": "rs_1"}}
    bound = {"anthropic": {"signature": "c2ln"}}
    messages = [
        {"role": "user", "parts": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "text": "", "providerOptions": ours},
                {"type": "reasoning", "text": "Hm.", "providerOptions": bound},
                {"type": "text", "text": "Look.", "providerOptions": ours},
                {
                    "type": "tool-call",
                    "toolCallId": "c1",
                    "toolName": "f",
                    "input": {},
                    "providerOptions": ours,
                },
            ],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool-result",
                    "toolCallId": "c1",
                    "toolName": "f",
                    "output": {"type": "text", "value": "ok"},
                }
            ],
        },
        {"role": "user", "parts": [{"type": "text", "text": "Bye"}]},
    ]
    listed = Appended(messages, None)
    whole = listed.rendered("ai-sdk")
    parts = whole.messages[1]["parts"]
    assert parts[0] == {"type": "reasoning", "text": "", "providerMetadata": ours}
    assert parts[1] == {"type": "reasoning", "text": "Hm.", "providerMetadata": bound}
    assert parts[2] == {"type": "text", "text": "Look.", "providerMetadata": ours}
    assert parts[3]["callProviderMetadata"] == ours
    assert whole.losses == []
    cut = listed.rendered("ai-sdk", intact_from=3)
    assert [part.get("text") for part in cut.messages[1]["parts"]] == ["", "Look.", None]
    assert [repair.code for repair in cut.repairs] == ["dropped_thinking"]
    assert verdicts([whole.messages, cut.messages]) == ["ok", "ok"]


def test_ai_sdk_refuses_what_is_broken() -> None:
    """
    The same judgement refuses a call without a result, a part without a type, and an empty list.
    """
    asked = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    part = {"type": "tool-f", "toolCallId": "c1", "state": "output-available", "input": {}}
    broken = [
        [],
        [{**asked, "parts": [{"text": "Hi"}]}],
        [asked, {"id": "a1", "role": "assistant", "parts": [part]}],
    ]
    assert "ok" not in verdicts(broken)
