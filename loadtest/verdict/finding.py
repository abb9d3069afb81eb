"""What a checker says about its invariant."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

MOST_EXAMPLES = 10


class Outcome(StrEnum):
    """Whether an invariant held; `not_judged` where the evidence cannot tell."""

    HELD = "held"
    BROKEN = "broken"
    NOT_JUDGED = "not_judged"


class Finding(msgspec.Struct, frozen=True):
    """One invariant's verdict, with at most ten of the violations behind it."""

    invariant: int
    name: str
    outcome: Outcome
    detail: str
    examples: tuple[str, ...] = ()


class Subject(msgspec.Struct, frozen=True):
    """An invariant by its number in the design and a short name."""

    number: int
    name: str

    def judge(self, violations: Sequence[str], evidence: str) -> Finding:
        """Held, on this evidence, unless there is a violation."""
        if not violations:
            return Finding(self.number, self.name, Outcome.HELD, evidence)
        return Finding(
            self.number,
            self.name,
            Outcome.BROKEN,
            f"{len(violations)} violations ({evidence})",
            tuple(violations[:MOST_EXAMPLES]),
        )

    def not_judged(self, reason: str) -> Finding:
        """The evidence at hand cannot tell."""
        return Finding(self.number, self.name, Outcome.NOT_JUDGED, reason)
