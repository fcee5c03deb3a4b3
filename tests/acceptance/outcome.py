"""The end of a replay: what was seen, and what was broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.acceptance.plan import Run
from tests.acceptance.traffic import Violation
from tests.kit.messages import encoded


@dataclass(frozen=True)
class Finding:
    """A broken rule, and where."""

    run: Run
    message_index: int
    seed: int
    violation: Violation

    def __str__(self) -> str:
        conversation, configuration = self.run.conversation, self.run.configuration
        return (
            f"[{self.violation.rule}] {self.violation.detail}\n"
            f"  source {conversation.source}, conversation {conversation.id}, "
            f"shape {conversation.shape}, message {self.message_index} "
            f"(seq {self.message_index + 1})\n"
            f"  configuration {configuration.name}: {encoded(configuration.body()).decode()}\n"
            f"  again: python -m tests.acceptance --source {conversation.source} "
            f"--conversation '{conversation.id}' --shape {conversation.shape} "
            f"--configuration {configuration.name} --first {len(conversation.messages)} "
            f"--seed {self.seed}"
        )


@dataclass
class Tally:
    """What a replay saw."""

    messages: int = 0
    reads: int = 0
    checks: int = 0
    compactions: int = 0
    window_starts: int = 0
    kept_tokens: int = 0
    history_tokens: int = 0


@dataclass(frozen=True)
class Outcome:
    """
    The end of a replay: what it saw, what was broken, and the views a restart must not change.
    """

    run: Run
    context_id: str
    tally: Tally
    findings: tuple[Finding, ...] = ()
    views: dict[int | None, bytes] = field(default_factory=dict)

    def with_findings(self, more: Sequence[Finding]) -> Outcome:
        """Return the same outcome with *more* that was broken."""
        return replace(self, findings=(*self.findings, *more))
