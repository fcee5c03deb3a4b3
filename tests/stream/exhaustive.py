"""
Small lives of a context, and everything that can happen to a follower in them.

At any time the next write may come, any doorbell that was ever rung may ring (again), any page that
could ever be read may be delivered (again), and the connection may be cut behind any frame. What is
the same from here on is looked at once, so this ends; and from everywhere the follower must come to
know all there is to know.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from fastpaca.stream.subscription import Frame, Page, Subscription
from tests.stream.client import Client
from tests.stream.world import World


class Place(NamedTuple):
    """
    Where a follower can be: what has happened so far, and both ends of its connection.

    Places share what is in them; whatever is to change is copied before.
    """

    history: list[World]
    subscription: Subscription
    client: Client

    @property
    def key(self) -> Hashable:
        """All that what can follow depends on."""
        machine = tuple(getattr(self.subscription, name) for name in Subscription.__slots__)
        return len(self.history), machine, self.client.key

    def at(self, history: list[World]) -> Place:
        """Give the same place where more has happened."""
        client = copy.copy(self.client)
        client.history = history
        return Place(history, self.subscription, client)


def explore(life: Sequence[World], cursor: int | None, *, wants_messages: bool = True) -> int:
    """Look at every place that a follower who begins at *cursor* can come to; count them."""
    histories = [list(life[: moments + 1]) for moments in range(len(life))]
    pages = [_pages(history) for history in histories]
    client = Client(cursor, histories[0], wants_messages=wants_messages)
    places = [Place(histories[0], client.connect(), client)]
    seen = {places[0].key}
    while places:
        place = places.pop()
        _come_to_rest(place)
        moment = len(place.history) - 1
        found = list(_next(place, pages[moment]))
        if moment + 1 < len(life):
            found.append(place.at(histories[moment + 1]))
        for other in found:
            if other.key not in seen:
                seen.add(other.key)
                places.append(other)
    return len(seen)


def _pages(history: Sequence[World]) -> list[Page]:
    """Give each page of one change, or of all, that could ever be read."""
    pages: list[Page] = []
    for world in history:
        if world.state.is_gone:
            continue
        for after in range(world.state.version):
            for limit in (1, len(world.truth)):
                page = world.page(after, world.state.version, limit)
                if page not in pages:
                    pages.append(page)
    return pages


def _next(place: Place, pages: Sequence[Page]) -> Iterator[Place]:
    """Give each place that is one step away without a write."""
    if place.client.has_ended:
        return
    yield _reconnected(place)
    for world in place.history:
        subscription = copy.copy(place.subscription)
        subscription.ring(world.state)
        yield place._replace(subscription=subscription)
    subscription = copy.copy(place.subscription)
    yield from _received(place._replace(subscription=subscription), subscription.settle())
    for page in pages:
        subscription = copy.copy(place.subscription)
        frames = subscription.deliver(page)
        yield from _received(place._replace(subscription=subscription), frames)


def _received(place: Place, frames: Sequence[Frame]) -> Iterator[Place]:
    """Give the place where all *frames* were received, and those where a cut left out the last."""
    if frames:
        place = place._replace(client=copy.copy(place.client))
    for number, frame in enumerate(frames):
        if number:
            yield _reconnected(place)
        place.client.receive(frame)
    yield place


def _reconnected(place: Place) -> Place:
    client = copy.copy(place.client)
    return Place(place.history, client.connect(), client)


def _come_to_rest(place: Place) -> None:
    """Let the last doorbell come and all pages, one change at a time."""
    newest = place.history[-1]
    subscription, client = copy.copy(place.subscription), copy.copy(place.client)
    if client.has_ended:
        return
    subscription.ring(newest.state)
    frames = subscription.settle()
    while (wanted := subscription.wanted) is not None:
        before = subscription.cursor
        frames += subscription.deliver(newest.page(*wanted, 1))
        assert subscription.cursor > before, "a page that was wanted leads on"
    for frame in frames:
        client.receive(frame)
    client.check_caught_up()
