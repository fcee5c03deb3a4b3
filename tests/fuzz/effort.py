"""How much is tried: a little in `make test`, and as much as `make fuzz` asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import hypothesis


@dataclass(frozen=True)
class Effort:
    """
    What `--runs` and `--seed` say.

    Attributes:
        runs: How many examples each fuzzer tries; None for what it finds right by itself.
        seed: What they are drawn from; None for others every time.
    """

    runs: int | None
    seed: int | None

    def examples(self, few: int) -> int:
        """Give how many to try, *few* if nothing else was asked for."""
        return few if self.runs is None else self.runs

    def attack(self, holds: Callable[[], None], few: int) -> None:
        """Try *holds*, a function under `given`, with so many examples."""
        tried = hypothesis.settings(
            max_examples=self.examples(few),
            phases=set(hypothesis.Phase) - {hypothesis.Phase.explain},  # which takes minutes
            # How long it takes to draw an example says nothing on a busy machine, and what rules
            # out a schema by breaking it a little must try often.
            suppress_health_check=[
                hypothesis.HealthCheck.too_slow,
                hypothesis.HealthCheck.filter_too_much,
            ],
        )(holds)
        if self.seed is not None:
            tried = hypothesis.seed(self.seed)(tried)
        tried()
