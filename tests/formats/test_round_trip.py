"""Inside a format: what came in goes out again."""

from __future__ import annotations

import json

import msgspec
import pytest

from fastpaca.formats import decoded, read_text, render, rendered
from fastpaca.formats.writing import Options
from tests.formats.samples import LISTS, NAMES, VALIDATORS, Appended, Json

SAMPLES = [
    pytest.param(name, listed, id=f"{name}-{number}")
    for name, lists in LISTS.items()
    for number, listed in enumerate(lists)
]


@pytest.mark.parametrize(("name", "listed"), SAMPLES)
def test_valid_list_comes_back_equal(name: str, listed: list[Json]) -> None:
    """
    A list that its provider accepts comes back message for message, with nothing to repair.
    """
    rendering = Appended(listed, name).rendered(name)
    assert rendering.messages == listed
    assert list(rendering.repairs) == []
    assert list(rendering.losses) == []
    assert rendering.added_tokens == 0


@pytest.mark.parametrize(("name", "listed"), SAMPLES)
def test_samples_are_valid(name: str, listed: list[Json]) -> None:
    """
    The validator of a provider accepts the lists of these tests.
    """
    if name in VALIDATORS:
        assert VALIDATORS[name](listed) == []


@pytest.mark.parametrize("name", ["openai-chat", "anthropic"])
@pytest.mark.parametrize("number", [0, 1])
def test_content_needs_no_format(name: str, number: int) -> None:
    """
    Messages of OpenAI Chat and Anthropic come back equal when no format was named for them.
    """
    listed = LISTS[name][number]
    assert Appended(listed, None).rendered(name).messages == listed


@pytest.mark.parametrize("name", NAMES)
def test_view_alone_renders_valid(name: str) -> None:
    """
    Without the origin of how messages came, which no reader is told, the list is still valid.
    """
    listed = LISTS[name][-1]
    rendering = render({"messages": Appended(listed, name).messages}, name)
    if name in VALIDATORS:
        assert VALIDATORS[name](rendering.messages) == []
    assert len(rendering.messages) == len(listed)


def test_numbers_are_kept_as_they_are_written() -> None:
    """
    Integers of any size and floats of any precision go out as they came in.
    """
    given = b'{"a":1.0,"b":1e400,"c":123456789012345678901234567890,"d":0.10000000000000000555}'
    use = b'{"type":"tool_use","id":"t1","name":"open","input":%b}' % given
    told = b'{"type":"tool_result","tool_use_id":"t1","content":"so"}'
    texts = [
        b'{"role":"user","content":"Go on"}',
        b'{"role":"assistant","content":[%b]}' % use,
        b'{"role":"user","content":[%b]}' % told,
    ]
    read = [read_text(text, "anthropic", "message") for text in texts]
    messages, origins = decoded([one.text for one in read]), [one.origin for one in read]
    for name in NAMES:
        written = msgspec.json.encode(rendered(messages, name, Options(), origins).messages)
        assert given in written.replace(b'\\"', b'"'), name


@pytest.mark.parametrize("name", NAMES)
def test_unknown_block_comes_back_in_its_own_format(name: str) -> None:
    """
    A block that no table knows comes back in its message, in the format that it was appended in,
    and is a loss in all others.
    """
    key = "parts" if name in ("gemini", "ai-sdk") else "content"
    block: Json = {"type": "hologram", "rays": [1, 2]}
    if name in ("gemini", "bedrock"):
        block = {"hologram": {"rays": [1, 2]}}
    text = {"type": "input_text" if name == "openai-responses" else "text", "text": "Hi"}
    said = {"gemini": {"text": "Hi"}, "bedrock": {"text": "Hi"}}.get(name, text)
    message: Json = {"role": "user", key: [said, block]}
    if name == "ai-sdk":
        message = {"id": "u1", **message}
    appended = Appended([message], name)
    for other in NAMES:
        rendering = appended.rendered(other)
        if other == name:
            assert rendering.messages == [message]
        else:
            assert "rays" not in json.dumps(rendering.messages), other
        codes = [loss.code for loss in rendering.losses]
        assert codes == ([] if other == name else ["unknown"]), other


def test_ui_message_without_an_id_gets_one() -> None:
    """
    A UI message without an id is named for its seq.
    """
    messages = [{"seq": 7, "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    (message,) = rendered(messages, "ai-sdk", Options()).messages
    assert message["id"] == "seq-7"
