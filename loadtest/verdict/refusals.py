"""The refused reserves of which the log can tell whether they were due."""

from dataclasses import dataclass
from typing import Self

from loadtest.client.history import Attempt
from loadtest.verdict.context import Context
from loadtest.verdict.log.order import LogOrder


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refusals with one code: those that are judged, and how many are not.

    A refusal is judged where it names its SKU, the lines that were asked for are known, and the log
    has everything it may have been decided on (`LogOrder.is_certain`). Nothing is judged in a sale
    with repairs or imports: until a repair Redis had other counters than the log, and of an import
    the log has the sum alone.
    """

    code: str
    judged: tuple[Attempt, ...]
    count: int

    @classmethod
    async def of(cls, context: Context, order: LogOrder, code: str) -> Self:
        """The refusals in the history of the context."""
        history = context.history
        found = [a for a in history.of("reserve") if a.code == code] if history else []
        if found and (await context.ledger.row("rare_events"))["undated"]:
            return cls(code, (), len(found))
        judged = tuple(
            a for a in found if a.sku and a.wanted and order.is_certain(a, order.window(a))
        )
        return cls(code, judged, len(found))

    @staticmethod
    def wanted(refused: Attempt) -> int:
        """The units that were asked for of the SKU that the refusal names."""
        return sum(quantity for sku, quantity in refused.wanted if sku == refused.sku)

    @property
    def evidence(self) -> str:
        """How many refusals there were, and how many are judged, in words."""
        return f"{len(self.judged)} of {self.count} answers {self.code} judged"
