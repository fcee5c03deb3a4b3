"""
What an append sends: messages as callers have them, read into what a node takes. Pure.

A caller may have a text, a message, a list of messages, or the response of a provider; objects of
the providers' packages are as good as JSON. See `provider_objects` and `provider_responses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastpaca.client.provider_objects import fields_of, is_provider_object
from fastpaca.client.provider_responses import ProviderResponse, is_gemini, read_response
from fastpaca.client.provider_streams import joined
from fastpaca.client.provider_usage import read_usage
from fastpaca.client.values import TokenUsage
from fastpaca.errors import InvalidRequest

Fields = Mapping[str, Any]


class Appending(NamedTuple):
    """
    What to append.

    Attributes:
        messages: The messages, or items.
        is_batch: Whether each has a result of its own; otherwise there is one message.
        format: Their format; None for that of a node.
        usage: What a provider billed for them; None if that is not known.
    """

    messages: Sequence[Fields]
    is_batch: bool
    format: str | None = None
    usage: TokenUsage | None = None


def read_appended(message: object, format_: str | None, usage: object) -> Appending:
    """
    Read what a caller appends.

    Args:
        message: A text of the user, a message, a list of messages, a provider's response, or a
            list of the chunks of a stream of Gemini.
        format_: The format of the messages; that of a response is known.
        usage: What the caller knows of the usage; it counts before that of a response.

    Raises:
        InvalidRequest: It is none of these, or a response that can't be appended.
    """
    given = None if usage is None else read_usage(usage)
    if isinstance(message, str):
        return Appending([user_message(message, format_)], False, format_, given)
    if _is_object(message):
        fields = fields_of(message)
        response = read_response(fields)
        if response is None:
            return Appending([_checked(fields, message, "message")], False, format_, given)
        _check_format(response, format_)
        said = [fields_of(one) for one in response.messages]
        return Appending(said, response.is_batch, response.format, given or response.usage)
    if isinstance(message, Iterable) and not isinstance(message, bytes | bytearray | memoryview):
        message = list(message)
        if message and all(_is_object(one) and is_gemini(fields_of(one)) for one in message):
            return read_appended(joined([fields_of(one) for one in message]), format_, usage)
        return Appending(read_listed(message, "messages"), True, format_, given)
    raise _unknown(message, "message")


def read_listed(messages: Iterable[object], field: str) -> list[Fields]:
    """
    Read messages that stand in a list.

    Raises:
        InvalidRequest: One is not a message.
    """
    return [_listed(one, f"{field}[{at}]") for at, one in enumerate(messages)]


def user_message(text: str, format_: str | None) -> Fields:
    """Return a message of the user that says *text*, in a format."""
    return _USER.get(format_, _with_content)(text)


def _with_content(text: str) -> Fields:
    return {"role": "user", "content": text}


_USER: Final[Mapping[str | None, Callable[[str], Fields]]] = {
    "gemini": lambda text: {"role": "user", "parts": [{"text": text}]},
    "bedrock": lambda text: {"role": "user", "content": [{"text": text}]},
    "ai-sdk": lambda text: {"role": "user", "parts": [{"type": "text", "text": text}]},
}
"""By format: how the user says a text, where it is not in a string."""


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping) or is_provider_object(value)


def _listed(message: object, field: str) -> Fields:
    if not _is_object(message):
        raise _unknown(message, field)
    fields = fields_of(message)
    if read_response(fields) is not None:
        raise InvalidRequest("Append the response of a provider by itself.", field)
    return _checked(fields, message, field)


def _checked(fields: Fields, message: object, field: str) -> Fields:
    """Refuse an object that has nothing of a message; what JSON says is for the node to judge."""
    if isinstance(message, Mapping) or not _TELLING.isdisjoint(fields):
        return fields
    raise _unknown(message, field)


_TELLING: Final = frozenset({"role", "type", "parts", "content"})
"""Every message and every item of a provider has one of these."""


def _check_format(response: ProviderResponse, format_: str | None) -> None:
    if format_ not in (None, response.format):
        raise InvalidRequest(
            f"This is a response in the format {response.format}, not {format_}.", "format"
        )


def _unknown(value: object, field: str) -> InvalidRequest:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return InvalidRequest(
        f"This is neither a text, a message, a list of messages nor the response of a provider"
        f" that this client knows, but of the type {kind}.",
        field,
    )
