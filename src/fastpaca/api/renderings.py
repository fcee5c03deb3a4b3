"""
The LLM context in the form of a provider, as it is written; see `responses.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from fastpaca.api.responses import Count, Ordinal, ViewJSON, doc, encode, facts, one_of
from fastpaca.context import WindowView
from fastpaca.context.explain import Fate
from fastpaca.formats import FORMATS, LOSSES, REPAIRS, Rendering

T = TypeVar("T")


class RepairJSON(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a rendering put right, so that the provider accepts it."""

    code: Annotated[str, one_of(*REPAIRS), doc("What was done.")]
    seq: Annotated[
        Ordinal | UnsetType, doc("The message it was made for; absent for a summary or the list.")
    ] = UNSET
    call: Annotated[str | UnsetType, doc("The id of the call.")] = UNSET


class LossJSON(Struct, frozen=True, gc=False):
    """What a rendering could not say."""

    code: Annotated[str, one_of(*LOSSES), doc("What was lost.")]
    seq: Annotated[Ordinal | None, doc("The message that said more; null for a summary.")]


class RenderedViewJSON(ViewJSON, frozen=True, gc=False, kw_only=True):
    """The LLM context in the form of a provider."""

    format: Annotated[str, one_of(*FORMATS), doc("The format.")]
    messages: Annotated[
        list[Annotated[Any, Meta(extra_json_schema={"type": "object"})]],
        doc("The provider's messages, oldest first, to be sent as they are."),
    ]
    used_tokens: Annotated[
        Count, doc("Sum over the returned messages, with what the repairs add at most.")
    ]
    stable_messages: Annotated[
        Count,
        doc(
            "How many messages at the front the next rendering will begin with, byte for byte,"
            " unless the window is rewritten or cut again."
        ),
    ]
    repairs: Annotated[
        list[RepairJSON], doc("What was put right, so that the provider accepts it.")
    ]
    losses: Annotated[list[LossJSON], doc("What the provider has no form for.")]
    system: Annotated[
        Any,
        doc(
            "The instructions, in the form of the provider; absent if there are none, or if they"
            " belong in `messages`."
        ),
    ] = UNSET


def rendered(
    view: WindowView, rendering: Rendering, explained: Sequence[Fate] | None = None
) -> bytes:
    """Write one read of the LLM context in the form of a provider."""
    return encode(
        RenderedViewJSON(
            format=rendering.format,
            messages=rendering.messages,
            repairs=[
                RepairJSON(one.code, _or_unset(one.seq), _or_unset(one.call))
                for one in rendering.repairs
            ],
            losses=[LossJSON(one.code, one.seq) for one in rendering.losses],
            system=UNSET if rendering.system is None else rendering.system,
            **facts(view, explained),
        )
    )


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
