"""The results in a new message of calls that left the window: these results must stay out too."""

from __future__ import annotations

from collections.abc import Iterable

from fastpaca.context.calls import GHOST, Call
from fastpaca.context.cut_calls import CutCall, with_result
from fastpaca.context.message import Entry
from fastpaca.context.pairing import Pairing
from fastpaca.shapes import Side, ToolReference


def with_results(cut_calls: tuple[CutCall, ...], answered: Iterable[Call]) -> tuple[CutCall, ...]:
    """Return *cut_calls* after the results of some of them have arrived and stayed out."""
    for call in answered:
        before = call.cut
        call.consume()
        cut_calls = with_result(cut_calls, before, call.cut)
    return cut_calls


def is_made_again(call: CutCall, entry: Entry | None) -> bool:
    """Return whether *entry*, the message of a *call* that was cut, if any, makes it again."""
    return entry is not None and any(
        not reference.answers
        and reference.id == call.id
        and (reference.side is Side.REQUEST) == call.is_request
        and (call.id or reference.name == call.name)
        for reference in entry.tool_references
    )


def of_cut_calls(
    pairing: Pairing, entry: Entry
) -> tuple[set[int], list[Call], list[ToolReference]]:
    """
    Find the results in *entry* of calls that were cut.

    Return their places, the calls that they answer, and those that answer none since they are late.
    """
    places: set[int] = set()
    answered: list[Call] = []
    late: list[ToolReference] = []
    made: set[str] = set()
    for reference in entry.tool_references:
        if not reference.answers:
            made |= {reference.id, reference.name} - {""}
            continue
        if reference.id in made or (not reference.id and reference.name in made):
            continue  # it answers a call of this message
        call = pairing.match(reference)
        if call is None or call in answered:
            call = pairing.owner(reference)
            if call is not None and call.at == GHOST:
                late.append(reference)
        elif call.at == GHOST:
            answered.append(call)
        if call is not None and call.at == GHOST:
            places.update(reference.places)
    return places, answered, late
