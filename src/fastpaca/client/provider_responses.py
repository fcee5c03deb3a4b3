"""
Responses of providers, as they are appended: messages in their format, and the usage. Pure.

A response is recognised by the fields that the provider's API gives it, not by its class. So
objects of the official packages are recognised, those that imitate them, and decoded JSON:

| response | recognised by |
| --- | --- |
| OpenAI Chat | `object` is `chat.completion` |
| OpenAI Responses | `object` is `response` |
| Anthropic | `type` is `message`, and there are `content`, `model` and `usage` |
| Gemini | `candidates` or `promptFeedback` |
| Bedrock | `output`, with a `message` in it |

Only a whole response is taken: pieces of a stream, and what was not finished, are refused. So is a
response with several choices, since which of them the conversation continues with is not for a
client to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastpaca.client.provider_objects import fields_of
from fastpaca.client.provider_usage import is_reported, read_usage
from fastpaca.client.values import TokenUsage
from fastpaca.errors import InvalidRequest

Fields = Mapping[str, Any]

_FIELD: Final = "message"


class ProviderResponse(NamedTuple):
    """
    What a provider has answered.

    Attributes:
        format: The format of the messages.
        messages: What was said: one message, or the items of OpenAI Responses.
        usage: What was billed; None if the response does not say.
    """

    format: str
    messages: Sequence[object]
    usage: TokenUsage | None

    @property
    def is_batch(self) -> bool:
        """Whether there may be several messages, so that each has a result of its own."""
        return self.format == "openai-responses"


def read_response(fields: Fields) -> ProviderResponse | None:
    """
    Read the *fields* of a response; return None if they are not those of one.

    Raises:
        InvalidRequest: It is a part of a response, says nothing, or has several choices.
    """
    if "role" in fields and "usage" not in fields:  # most messages, and no response
        return None
    kind = fields.get("object")
    if kind == "chat.completion.chunk":
        raise _refused("This is a piece of a stream. Append the whole message once it is complete.")
    for format_, (is_one, reader) in _READERS.items():
        if is_one(fields):
            return reader(fields, format_)
    return None


def is_gemini(fields: Fields) -> bool:
    """Return whether *fields* are those of a response of Gemini, or of a chunk of its stream."""
    return "role" not in fields and not _GEMINI.isdisjoint(fields)


_GEMINI: Final = frozenset({"candidates", "promptFeedback", "prompt_feedback", "usageMetadata"})


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, _FIELD)


def _billed(usage: object, format_: str, model: object) -> TokenUsage | None:
    """Read the usage of a response; None if the provider, or what imitates it, reports none."""
    if not is_reported(usage, format_):
        return None
    return read_usage(usage, format_, model if isinstance(model, str) else None)


def _only(choices: object, name: str, rest: str) -> Fields:
    """Return the only one of *choices*."""
    listed = choices if isinstance(choices, Sequence) else ()
    if len(listed) != 1:
        raise _refused(
            f"The response has {len(listed)} {name}, and one can be appended."
            + (f" Append {rest}, with usage=…" if listed else "")
        )
    return fields_of(listed[0])


def _check_finished(fields: Fields, name: str) -> None:
    if name in fields and fields[name] is None:
        raise _refused(f"The response is not finished: its {name} is None.")


def _openai_chat(fields: Fields, format_: str) -> ProviderResponse:
    choice = _only(fields.get("choices"), "choices", "the message of the one you chose")
    _check_finished(choice, "finish_reason")
    usage = _billed(fields.get("usage"), format_, fields.get("model"))
    return ProviderResponse(format_, [_of_stream(fields_of(choice.get("message")))], usage)


def _of_stream(message: Fields) -> Fields:
    """
    Omit what the package of OpenAI has added to a message of Chat while it streamed.

    That is None for `annotations`, and the `index` of each call: a request may have neither.
    """
    said = {
        key: value for key, value in message.items() if key != "annotations" or value is not None
    }
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence):
        listed = map(fields_of, calls)
        said["tool_calls"] = [
            {key: value for key, value in call.items() if key != "index"} for call in listed
        ]
    return said


def _openai_responses(fields: Fields, format_: str) -> ProviderResponse:
    status = fields.get("status")
    if status in ("queued", "in_progress"):
        raise _refused(f"The response is not finished: its status is {status}.")
    items = fields.get("output") or []
    if not items:
        raise _refused(f"The response has no output; its status is {status}.")
    usage = _billed(fields.get("usage"), format_, fields.get("model"))
    return ProviderResponse(format_, list(items), usage)


def _anthropic(fields: Fields, format_: str) -> ProviderResponse:
    _check_finished(fields, "stop_reason")
    message = {"role": fields.get("role", "assistant"), "content": fields["content"]}
    usage = _billed(fields["usage"], format_, fields["model"])
    return ProviderResponse(format_, [message], usage)


def _gemini(fields: Fields, format_: str) -> ProviderResponse:
    candidate = _only(fields.get("candidates"), "candidates", "the content of the one you chose")
    reason = candidate.get("finishReason", candidate.get("finish_reason"))
    if reason is None:
        raise _refused(
            "This is a piece of a stream: its candidate has no finishReason. Append a list of all"
            " its chunks."
        )
    content = fields_of(candidate.get("content"))
    # The package leaves nothing of a part that is of a newer kind than itself.
    parts = [part for part in map(fields_of, content.get("parts") or ()) if part]
    if not parts:
        raise _refused(f"The candidate has no content; its finishReason is {_word(reason)}.")
    model = fields.get("modelVersion", fields.get("model_version"))
    report = fields.get("usageMetadata", fields.get("usage_metadata"))
    message = {"role": "model", **content, "parts": parts}
    return ProviderResponse(format_, [message], _billed(report, format_, model))


def _word(reason: object) -> str:
    return str(getattr(reason, "value", reason))


def _bedrock(fields: Fields, format_: str) -> ProviderResponse:
    usage = _billed(fields.get("usage"), format_, None)
    return ProviderResponse(format_, [fields["output"]["message"]], usage)


_READERS: Final[
    Mapping[str, tuple[Callable[[Fields], bool], Callable[[Fields, str], ProviderResponse]]]
] = {
    "openai-chat": (lambda fields: fields.get("object") == "chat.completion", _openai_chat),
    "openai-responses": (lambda fields: fields.get("object") == "response", _openai_responses),
    "anthropic": (
        lambda fields: (
            fields.get("type") == "message" and {"content", "model", "usage"} <= fields.keys()
        ),
        _anthropic,
    ),
    "gemini": (
        is_gemini,
        _gemini,
    ),
    "bedrock": (
        lambda fields: (
            not {"role", "type"} & fields.keys()
            and isinstance(fields.get("output"), Mapping)
            and "message" in fields["output"]
        ),
        _bedrock,
    ),
}
"""By format: whether fields are those of its response, and what reads it."""
