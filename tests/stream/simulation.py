"""
Random lives of a context and its followers, on a network that keeps no promise.

Writers write; doorbells are lost, doubled, late or out of order; pages are read at random moments,
of any size, and come late, twice or not at all; readers are slow; connections are cut behind any
frame. Rows are lost, and a backup takes the store back in time. What a follower is sent is checked
by its `Client`, and at quiet moments it must know all there is to know.

All is drawn from one `random.Random`, so that a story can be told again from its seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

from fastpaca.stream.subscription import ContextFrame, Frame, LatestState, Page, Subscription
from tests.stream.client import Client
from tests.stream.world import GONE, World

STEPS = 300
FOLLOWERS_MAX = 3
CONFIGURED: dict[str, tuple[object, ...]] = {
    "token_budget": (100, 200, 300),
    "needs_compaction": (False, True),
    "used_tokens": (0, 10),
}
WANT_MESSAGES = 0.7
PAGE_SIZES = (1, 1, 2, 3, 10)


class Connection:
    """One connection of a follower: what is under way on it, in both directions."""

    def __init__(self, rng: Random, client: Client, bells: list[LatestState]) -> None:
        self._rng = rng
        self._history = client.history
        self._last_context: ContextFrame | None = None
        self._newest = self._history[-1].state
        self.client = client
        self.subscription: Subscription = client.connect()
        self.bells = bells
        self.pages: list[Page] = []
        self.outbox: deque[Frame] = deque()

    def ring(self) -> None:
        """Let one of the doorbells come, perhaps not for the last time."""
        if self.bells:
            bell = self._rng.choice(self.bells)
            if self._rng.random() < 0.8:
                self.bells.remove(bell)
            self._ring(bell)
            if self._rng.random() < 0.7:
                self.settle()

    def settle(self) -> None:
        """Take what needs no page."""
        self._give(self.subscription.settle())

    def read(self) -> None:
        """Read what is wanted, or anything else."""
        world, rng = self._history[-1], self._rng
        if world.state.is_gone:
            self._ring(GONE)
            self.settle()
            return
        wanted = self.subscription.wanted
        if wanted is None or rng.random() < 0.2:
            after = rng.randint(0, world.state.version)
            wanted = after, rng.randint(after, world.state.version)
        self.pages.append(world.page(*wanted, rng.choice(PAGE_SIZES)))

    def deliver(self) -> None:
        """Let one of the pages come, perhaps not for the last time."""
        if self.pages:
            page = self._rng.choice(self.pages)
            if self._rng.random() < 0.8:
                self.pages.remove(page)
            self._give(self.subscription.deliver(page))

    def receive(self) -> None:
        """Let the follower take one frame."""
        if self.outbox:
            self.client.receive(self.outbox.popleft())

    def come_to_rest(self) -> None:
        """Let a last doorbell come, and the follower take all that there is for it."""
        self._ring(self._history[-1].state)
        self.settle()
        while (wanted := self.subscription.wanted) is not None:
            before = self.subscription.cursor
            page = self._history[-1].page(*wanted, self._rng.choice(PAGE_SIZES))
            self._give(self.subscription.deliver(page))
            assert self.subscription.cursor > before, "a page that was wanted leads on"
        while self.outbox:
            self.receive()
        self.client.check_caught_up()

    def _ring(self, state: LatestState) -> None:
        known, is_over = self._newest, self.subscription.has_ended or self._newest.is_gone
        self.subscription.ring(state)
        if not is_over and (state.is_gone or state.revision > known.revision):
            self._newest = state

    def _give(self, frames: list[Frame]) -> None:
        self.outbox.extend(frames)
        for frame in frames:
            if isinstance(frame, ContextFrame):
                self._last_context = frame
        subscription, newest = self.subscription, self._newest
        at_newest = subscription.cursor == newest.version
        is_over = newest.is_gone or (newest.is_tombstoned and at_newest)
        assert subscription.has_ended == is_over
        assert subscription.is_live == (at_newest and not is_over)
        if subscription.is_live:
            assert self._last_context == ContextFrame(
                version=newest.version,
                cursor=newest.version,
                needs_compaction=newest.needs_compaction,
                used_tokens=newest.used_tokens,
                token_budget=newest.token_budget,
            ), "one who is live has been told of the newest state"


class Story:
    """The life of one context, as *rng* draws it."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.history = [World()]
        self.connections: list[Connection] = []
        self._since = 0  # the moment of the last restart
        for _ in range(rng.choice((0, 0, 3, 10))):
            self._commit()
        for _ in range(rng.randint(1, FOLLOWERS_MAX)):
            client = Client(
                self._drawn_cursor(), self.history, wants_messages=rng.random() < WANT_MESSAGES
            )
            self.connections.append(self._connected(client))

    def live(self) -> None:
        """Live through it, and come to rest at the end."""
        weights = self._drawn_weights()
        for step in self._rng.choices(list(weights), list(weights.values()), k=STEPS):
            step()
        self._rest()

    def _drawn_weights(self) -> dict[Callable[[], None], float]:
        """Draw what this life has much of, and what little."""
        rng = self._rng
        return {
            self._write: rng.choice((2, 6, 12)),
            self._on_any(Connection.ring): rng.choice((3, 10)),
            self._on_any(Connection.settle): 2,
            self._on_any(Connection.read): rng.choice((5, 10)),
            self._on_any(Connection.deliver): rng.choice((5, 10)),
            self._on_any(Connection.receive): rng.choice((3, 10, 40)),
            self._cut: rng.choice((0.5, 2, 6)),
            self._rest: 0.5,
            self._lose: rng.choice((0, 0, 1)),
            self._go_back: rng.choice((0, 0, 0.5)),
            self._end: rng.choice((0, 0, 0.3)),
        }

    def _drawn_cursor(self) -> int | None:
        version = self.history[-1].state.version
        return self._rng.choice((None, 0, self._rng.randint(0, version), version, version + 3))

    def _on_any(self, do: Callable[[Connection], None]) -> Callable[[], None]:
        return lambda: do(self._rng.choice(self.connections))

    def _write(self) -> None:
        if not self.history[-1].state.is_tombstoned and not self.history[-1].state.is_gone:
            self._commit()

    def _commit(self) -> None:
        """Commit one op or a few at once."""
        rng = self._rng
        before = world = self.history[-1]
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            used_tokens = rng.choice((0, 10, 20, 90))
            draw, what = rng.random(), rng.choice(tuple(CONFIGURED))
            if draw < 0.65:
                revises = rng.choice((None, None, rng.randint(1, world.last_seq + 1)))
                trimmed = rng.random() < 0.3
                world = world.append(trimmed=trimmed, used_tokens=used_tokens, revises=revises)
            elif draw < 0.75:
                world = world.compact(used_tokens)
            elif draw < 0.85:
                world = world.rewind(rng.randint(0, world.state.version), used_tokens)
            else:
                world = world.configure(**{what: rng.choice(CONFIGURED[what])})
        self._publish(world.join(before))

    def _publish(self, world: World) -> None:
        self.history.append(world)
        for connection in self.connections:
            connection.bells += [world.state] * self._rng.choice((0, 1, 1, 2))

    def _lose(self) -> None:
        world = self.history[-1]
        first = self._rng.randint(1, world.state.version + 1)
        last = first + self._rng.choice((0, 0, 2, 5))
        self.history.append(world.lose(first, last, messages_only=self._rng.random() < 0.3))

    def _end(self) -> None:
        world = self.history[-1]
        if self._rng.random() < 0.5 and not world.state.is_gone:
            self._publish(world.purge())
        elif not world.state.is_tombstoned and not world.state.is_gone:
            self._publish(world.delete())

    def _cut(self) -> None:
        """Cut a follower off, behind whatever frame was its last."""
        number = self._rng.randrange(len(self.connections))
        connection = self.connections[number]
        for _ in range(self._rng.randint(0, len(connection.outbox))):
            connection.receive()
        self.connections[number] = self._reconnected(connection)

    def _reconnected(self, connection: Connection) -> Connection:
        ended = connection.client.has_ended
        return connection if ended else self._connected(connection.client)

    def _connected(self, client: Client) -> Connection:
        # Doorbells from before it came may still be under way, but none from before a restart.
        rung = [world.state for world in self.history[self._since :]]
        bells = self._rng.sample(rung, min(len(rung), self._rng.choice((0, 0, 2))))
        return Connection(self._rng, client, bells)

    def _go_back(self) -> None:
        """Restart from a backup; all followers notice before anything is written."""
        self._since = len(self.history)
        self.history.append(self._rng.choice(self.history))
        self.connections = [self._reconnected(connection) for connection in self.connections]
        for connection in self.connections:
            connection.settle()
            connection.receive()

    def _rest(self) -> None:
        """Be quiet for a while: whoever follows comes to know all."""
        for connection in self.connections:
            if not connection.client.has_ended:
                connection.come_to_rest()


def live(seed: int) -> list[Client]:
    """Live through the story of *seed*, and give its followers."""
    story = Story(Random(seed))
    try:
        story.live()
    except BaseException as error:
        error.add_note(f"The story of seed {seed} broke a rule: make sim SEED={seed}")
        raise
    return [connection.client for connection in story.connections]
