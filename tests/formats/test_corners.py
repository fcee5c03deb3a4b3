"""What few messages have, in the formats that write it in a way of their own."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from fastpaca.formats import Options, own_path, read, render, rendered
from tests.formats.samples import PDF, PNG, VALIDATORS
from tests.kit.messages import assistant, call, result, system, tool, user

Json = dict[str, Any]

HI: Final = user("Hi")


def codes(rendering: Any) -> list[str]:
    """Return the codes of repairs and losses."""
    return [one.code for one in (*rendering.repairs, *rendering.losses)]


def said(rendering: Any) -> str:
    return json.dumps([rendering.system, rendering.messages])


def ui_tool(state: str, **keys: Any) -> Json:
    return {"type": "tool-far", "toolCallId": "t1", "state": state, **keys}


# --- calls and results ------------------------------------------------------------------------


def test_a_part_that_is_said_again_is_written_once() -> None:
    """
    A later part of the same call replaces the earlier one, and takes its input if it has none.
    """
    first = assistant(ui_tool("input-available", input={"a": 1}))
    again = assistant(ui_tool("output-available", output={"km": 12}))
    rendering = render([HI, first, again, user("So?")], "anthropic")
    calls = [
        block
        for message in rendering.messages
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    assert [one["input"] for one in calls] == [{"a": 1}]
    assert VALIDATORS["anthropic"](rendering.messages) == []


def test_an_answer_to_no_approval_is_dropped() -> None:
    """
    It would be refused.
    """
    answer = {"type": "mcp_approval_response", "approval_request_id": "no", "approve": True}
    rendering = render([HI, tool(answer), HI], "openai-responses")
    assert "dropped_result" in codes(rendering)
    assert "approval_request_id" not in said(rendering)


def test_a_denied_call_is_closed() -> None:
    """
    The call that an answer denies gets a result that says so.
    """
    request = {"type": "tool-approval-request", "approvalId": "p1", "toolCallId": "t1"}
    answer = {"type": "tool-approval-response", "approvalId": "p1", "approved": False}
    asks = {"type": "tool-call", "toolCallId": "t1", "toolName": "far", "input": {}}
    rendering = render([HI, assistant(asks, request), tool(answer), HI], "anthropic")
    assert "closed_call" in codes(rendering)
    assert "denied" in said(rendering)
    assert VALIDATORS["anthropic"](rendering.messages) == []


SERVED: Final = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND: Final = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


@pytest.mark.parametrize(("open_calls", "is_there"), [("keep", True), ("close", False)])
def test_an_open_call_of_the_provider(open_calls: Any, is_there: bool) -> None:
    """
    A call that the provider ran and that has no result is dropped, unless open calls are kept.
    """
    rendering = render([HI, assistant("So.", SERVED), HI, HI], "anthropic", open_calls=open_calls)
    assert ("srvtoolu_1" in said(rendering)) == is_there


def test_a_served_result_without_its_call_in_the_run_is_dropped() -> None:
    """
    A provider takes the result of a tool of its own only next to the call.
    """
    asks = {**SERVED, "id": "t1"}
    finds = {**FOUND, "tool_use_id": "t1"}
    between = assistant(call("c1", name="f")), tool(result("c1"))
    rendering = render([HI, assistant(asks), *between, assistant(finds), HI, HI], "anthropic")
    assert VALIDATORS["anthropic"](rendering.messages) == []


def test_a_dropped_call_may_still_get_its_result() -> None:
    """
    What stands from such a call on is not stable.
    """
    messages = [HI, assistant("So.", call("c1", name="f")), user("Well?")]
    rendering = render(messages, "openai-chat", open_calls="drop")
    assert "dropped_call" in codes(rendering)
    assert rendering.stable_messages == 1


def test_what_a_page_shows_of_a_user_with_results_joins_the_next_reply() -> None:
    """
    A part for a page alone between results separates nothing.
    """
    page = {"type": "data-x", "data": 1}
    messages = [HI, assistant(call("c1", name="f")), user(result("c1"), page), assistant("So."), HI]
    for name in ("anthropic", "ai-sdk"):
        assert "So." in said(render(messages, name))


def test_texts_next_to_results_stay_one_message() -> None:
    """
    What a message says besides its results stands after them, in one piece.
    """
    answer = user(result("c1"), "One.", "Two.")
    rendering = render([HI, assistant(call("c1", name="f")), answer], "openai-chat")
    texts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert rendering.messages[-1] == {"role": "user", "content": texts}


def test_a_call_of_the_user_is_a_reply() -> None:
    """
    Only an assistant calls.
    """
    rendering = render([HI, user(call("c1", name="f")), user(result("c1")), HI], "ai-sdk")
    assert [message["role"] for message in rendering.messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize("given", ["", " ", None])
def test_no_arguments_are_an_empty_object(given: str | None) -> None:
    """
    A model that gives nothing writes nothing.
    """
    asks = assistant(call("c1", name="f", arguments=given))
    rendering = render([HI, asks, tool(result("c1"))], "anthropic")
    assert rendering.messages[1]["content"][0]["input"] == {}


IMAGE: Final = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
AUDIO: Final = {"type": "audio", "data": "aGk=", "mediaType": "audio/ogg"}
TEXT_FILE: Final = {"type": "document", "source": {"type": "text", "data": "In the file."}}


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic", "bedrock"])
@pytest.mark.parametrize("value", [[AUDIO], [], {"output": ""}])
def test_a_result_with_nothing_to_say_says_so(name: str, value: Any) -> None:
    """
    Where media have no form, or there is nothing at all, the result says that there was no output.
    """
    rendering = render([HI, assistant(call("c1", name="f")), tool(result("c1", value))], name)
    assert "(no output)" in said(rendering)
    assert VALIDATORS[name](rendering.messages) == []


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic", "bedrock"])
def test_a_file_of_text_in_a_result_is_said(name: str) -> None:
    """
    A text is a text, whatever it is wrapped in.
    """
    answer = tool(result("c1", [TEXT_FILE, {"type": "text", "text": "So."}]))
    assert "In the file." in said(render([HI, assistant(call("c1", name="f")), answer], name))


def test_the_envelope_of_a_result_is_taken_off() -> None:
    """
    What the AI SDK and Gemini wrap around a value is not the value.
    """
    for value in ({"type": "json", "value": {"km": 12}}, {"result": {"km": 12}}):
        answer = tool(result("c1", value))
        messages = [HI, assistant(call("c1", name="f")), answer]
        assert '{"km":12}' in render(messages, "openai-chat").messages[-1]["content"]
    part = {"type": "tool-result", "toolCallId": "c1", "toolName": "f"}
    answer = tool({**part, "output": {"type": "json", "value": {"km": 12}}})
    (tool_part,) = render([HI, assistant(call("c1", name="f")), answer], "ai-sdk").messages[1][
        "parts"
    ]
    assert tool_part["output"] == {"km": 12}


# --- OpenAI -----------------------------------------------------------------------------------

LEGACY: Final = {"role": "assistant", "parts": [], "function_call": {"name": "f", "arguments": ""}}


def test_the_legacy_call_keeps_its_form() -> None:
    """
    A call under `function_call` and its result in the role `function` come back as they came.
    """
    answer = {"role": "function", "name": "f", "parts": [{"type": "text", "text": "12"}]}
    rendering = render([HI, LEGACY, answer], "openai-chat")
    assert rendering.messages[1] == {"role": "assistant", "function_call": LEGACY["function_call"]}
    assert rendering.messages[2] == {"role": "function", "name": "f", "content": "12"}


def test_the_legacy_call_is_dropped_with_its_key() -> None:
    """
    A key that says a call goes with the call.
    """
    spoken = {**LEGACY, "parts": [{"type": "text", "text": "So."}]}
    rendering = render([HI, spoken, HI, HI], "openai-chat", open_calls="drop")
    assert rendering.messages[1] == {"role": "assistant", "content": "So."}


def test_a_recording_of_a_reply_is_said_elsewhere() -> None:
    """
    OpenAI Chat knows a recording by its id; for others, what it says is a text.
    """
    audio = {"id": "a1", "transcript": "Twelve."}
    reply: Json = {"role": "assistant", "parts": [], "audio": audio, "refusal": None}
    rendering = rendered(
        [HI, {**reply, "parts": [{"type": "text", "text": "So."}]}],
        "openai-chat",
        Options(),
        ["", "/list"],
    )
    assert rendering.messages[1]["audio"] == {"id": "a1"}
    for name in ("anthropic", "gemini", "bedrock", "ai-sdk", "openai-responses"):
        assert "Twelve." in said(render([HI, reply, HI], name))
    assert "a1" not in said(render([HI, {**reply, "audio": {"id": "a1"}}, HI], "anthropic"))


def test_a_refusal_of_another_form_is_one() -> None:
    """
    A refusal with keys that OpenAI Chat does not know is written anew.
    """
    refusal = {"type": "refusal", "refusal": "No.", "why": "x"}
    (_, reply) = render([HI, assistant(refusal)], "openai-chat").messages
    assert reply["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_refusal_in_a_key_is_content_if_there_is_no_other() -> None:
    """
    OpenAI Chat refuses a reply without content.
    """
    refuses = {"role": "assistant", "parts": [], "refusal": "No.", "mood": "grim"}
    rendering = render([HI, refuses, HI], "openai-chat")
    content = [{"type": "refusal", "refusal": "No."}]
    assert rendering.messages[1] == {"role": "assistant", "content": content}
    assert codes(rendering) == ["keys"]


def test_a_recording_goes_to_openai_in_its_form() -> None:
    """
    Of the formats of recordings two are taken.
    """
    spoken = {"type": "audio", "data": "aGk=", "mediaType": "audio/wav"}
    rendering = render([user(spoken, AUDIO, "Hi")], "openai-chat")
    (first, _) = rendering.messages[0]["content"]
    assert first == {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    assert codes(rendering) == ["media"]


def test_a_message_in_a_message_is_an_item() -> None:
    """
    An output of Responses that was kept as a part goes out as it is, or as its text.
    """
    output = [{"type": "output_text", "text": "Twelve."}, {"type": "x"}]
    item = {"type": "message", "id": "m1", "role": "assistant", "content": output}
    rendering = render([HI, assistant(item), HI], "openai-responses")
    assert item in rendering.messages
    assert "Twelve." in said(render([HI, assistant(item), HI], "anthropic"))
    plain = {**item, "content": "Thirteen."}
    assert "Thirteen." in said(render([HI, assistant(plain), HI], "anthropic"))


def test_a_message_next_to_a_gap_loses_its_id() -> None:
    """
    Items of its reply may be gone, and with them the reasoning that the id is bound to.
    """
    output = [{"type": "output_text", "text": "Twelve.", "annotations": []}]
    item = {"type": "message", "id": "m1", "role": "assistant", "content": output}
    got = read(item, "openai-responses")
    messages = [{"seq": 1, **HI}, {"seq": 5, **got.message}, {"seq": 6, **HI}]
    rendering = rendered(messages, "openai-responses", Options(), ["", got.origin, ""])
    assert rendering.messages[1] == {key: item[key] for key in item if key != "id"}
    assert "dropped_item_ids" in codes(rendering)


# --- others -----------------------------------------------------------------------------------


def test_a_name_that_gemini_refuses_is_changed_in_its_own_call() -> None:
    """
    Everything else of the part stays.
    """
    own = {"type": "functionCall", "functionCall": {"name": "a b", "args": {}}}
    response = {"name": "a b", "response": {}}
    answer = {"type": "functionResponse", "functionResponse": response}
    rendering = render([HI, assistant(own), user(answer)], "gemini")
    assert rendering.messages[1]["parts"][0]["functionCall"]["name"] == "a_b"
    assert rendering.messages[2]["parts"][0]["functionResponse"]["name"] == "a_b"


def test_a_call_of_bedrock_without_input_gets_one() -> None:
    """
    Bedrock refuses a call without.
    """
    own = {"type": "toolUse", "toolUse": {"toolUseId": "t1", "name": "f"}}
    answer = {"type": "toolResult", "toolResult": {"toolUseId": "t1", "content": []}}
    rendering = render([HI, assistant(own), user(answer)], "bedrock")
    assert rendering.messages[1]["content"][0]["toolUse"]["input"] == {}


SOURCE: Final = {"bytes": PDF}


@pytest.mark.parametrize(
    "document",
    [
        {"format": "pdf", "name": "a"},
        {"format": "exe", "name": "a", "source": SOURCE},
        {"format": "exe", "name": "a", "source": {"s3Location": {}, "x": 1}},
    ],
)
def test_a_document_that_bedrock_refuses_is_lost(document: Json) -> None:
    """
    A document needs a known format and a source.
    """
    part = {"type": "document", "document": document}
    rendering = render([user("Hi", part)], "bedrock")
    assert rendering.messages == [{"role": "user", "content": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    "document",
    [
        {"format": "pdf", "name": "a"},
        {"format": "pdf", "name": 5, "source": SOURCE},
    ],
)
def test_a_document_that_bedrock_refuses_is_lost_in_its_own_result(document: Json) -> None:
    """
    A document needs a name and a source in a result as well.
    """
    asks = {"type": "toolUse", "toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}
    held = {"toolUseId": "t1", "content": [{"document": document}, {"text": "So."}]}
    answer = user({"type": "toolResult", "toolResult": held})
    rendering = render([HI, assistant(asks), answer], "bedrock")
    assert VALIDATORS["bedrock"](rendering.messages) == []
    assert "So." in said(rendering)


def test_thinking_of_bedrock_that_is_no_object_is_not_signed() -> None:
    """
    It is bound to nothing, so it stays where the beginning has changed.
    """
    thinking = {"type": "reasoningContent", "reasoningContent": "Hm."}
    got = {"seq": 2, **assistant(thinking, "So.")}
    rendering = rendered(
        [{"seq": 1, **HI}, got, {"seq": 3, **HI}],
        "bedrock",
        Options(intact_from=3),
        ["", "bedrock/list", ""],
    )
    assert rendering.messages[1]["content"][0] == {"reasoningContent": "Hm."}


def test_a_blank_text_of_another_form_is_dropped_for_the_ai_sdk() -> None:
    """
    It would be a part that says nothing.
    """
    rendering = render([user({"type": "input_text", "text": " "}, "Hi")], "ai-sdk")
    assert rendering.messages[0]["parts"] == [{"type": "text", "text": "Hi"}]
    assert codes(rendering) == ["dropped_blank"]


def test_a_file_of_text_goes_to_anthropic_as_one() -> None:
    """
    A document may be a plain text.
    """
    part = {"type": "document", "document": {"format": "md", "name": "a", "source": {"text": "Hm"}}}
    (block,) = render([user(part)], "anthropic").messages[0]["content"]
    assert block["source"] == {"type": "text", "media_type": "text/plain", "data": "Hm"}
    spoken = {"type": "audio", "source": {"type": "text", "data": "Twelve."}}
    assert "Twelve." in said(render([user("Hi", spoken)], "anthropic"))


def test_content_that_says_nothing_keeps_its_form() -> None:
    """
    An empty string comes back as it came; where there is none, the result says so.
    """
    answer = {"role": "tool", "parts": [], "tool_call_id": "c1"}
    asks = assistant(call("c1", name="f"))
    for form, content in (("string", ""), ("null", "(no output)"), ("", "(no output)")):
        rendering = rendered([HI, asks, answer], "openai-chat", Options(), ["", "", f"/{form}"])
        assert rendering.messages[-1]["content"] == content


def test_paths_are_those_of_the_message_as_it_came() -> None:
    """
    A string has no parts, so its path ends at the key.
    """
    assert own_path("anthropic/string", ".parts[0].text") == ".content"
    assert own_path("openai-responses/typed-string", ".parts[0].text") == ".content"
    assert own_path("openai-responses/item", ".parts[0].call_id") == ".call_id"
    assert own_path("gemini/list", ".parts[1].text") == ".parts[1].text"
    assert own_path("", ".parts[1].text") == ".parts[1].text"
    assert own_path("/list", ".parts[1].text") == ".content[1].text"


def test_instructions_in_the_middle_are_texts_of_the_user() -> None:
    """
    Only the first go to `system`.
    """
    messages = [system("Be brief."), HI, assistant("So."), system("In French."), HI]
    rendering = render(messages, "ai-sdk")
    assert rendering.system == "Be brief."
    assert "instructions_as_text" in codes(rendering)


def test_a_part_of_gemini_may_have_a_type_of_its_own() -> None:
    """
    It is kept as one that the format does not know, or as the block of that name.
    """
    message = {"role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    assert read(message, "gemini").message == message
