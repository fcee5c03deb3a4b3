"""
A view in the format of a provider, ready for the provider's own package. Pure.

JSON has no bytes and has no `system` where there are no instructions. A package wants both in
its own way:

- `system` is an empty list for Anthropic and Bedrock, so that it can always be passed on;
- boto3 takes media and encrypted reasoning as bytes, and would encode base64 a second time. The
  package of Gemini decodes base64 itself.
"""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import Any, Final

from msgspec.structs import replace

from fastpaca.client.values import ProviderView

_NO_SYSTEM: Final = frozenset({"anthropic", "bedrock"})

_MEDIA: Final = ("image", "document", "video", "audio")


def for_package(view: ProviderView[Any, Any]) -> ProviderView[Any, Any]:
    """Return *view* with what its package expects in the place of JSON."""
    if view.format == "bedrock":
        for message in view.messages:
            for block in message["content"]:
                _restore(block)
    if view.system is None and view.format in _NO_SYSTEM:
        return replace(view, system=[])
    return view


def _restore(block: dict[str, Any]) -> None:
    """Let a *block* of Bedrock have bytes where boto3 takes them."""
    for holder in (block, _object(block.get("guardContent"))):
        for name in _MEDIA:
            _decode(_object(_object(holder.get(name)).get("source")), "bytes")
    _decode(_object(block.get("reasoningContent")), "redactedContent")
    inner = _object(block.get("toolResult")).get("content")
    for one in inner if isinstance(inner, list) else ():
        _restore(_object(one))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(holder: dict[str, Any], key: str) -> None:
    if isinstance(holder.get(key), str):
        # What is no base64 came from elsewhere, and stays for the provider to judge.
        with suppress(ValueError):
            holder[key] = b64decode(holder[key], validate=True)
