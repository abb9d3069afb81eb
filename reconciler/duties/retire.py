"""Duty: the keys of settled sales leave Redis, where the gateway that settled them has not come to
it. Until then a settlement is not final, and the relay does not announce it.
"""

from dataclasses import dataclass
from typing import ClassVar

from gateway.admission.waiting_room.keys import every_room_key
from gateway.inventory.settled.retirement import retire
from gateway.process.audit import AuditAction
from reconciler.context import QUERIES, Context
from reconciler.duties.audit import write_audit
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import for_each


@dataclass(frozen=True, slots=True)
class RetireConfig:
    """`interval_seconds`: pause between looks; `patience_seconds`: how long a gateway may take."""

    interval_seconds: float = 1.0
    patience_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Raise ValueError for a pause that is not positive."""
        if self.interval_seconds <= 0 or self.patience_seconds < 0:
            raise ValueError("retire: interval_seconds > 0, patience_seconds >= 0")


class Retire:
    """Finishes settlements."""

    name: ClassVar[str] = "retire"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 60.0

    def __init__(self, context: Context, config: RetireConfig) -> None:
        self._context = context
        self._config = config
        self._notices = Notices()

    async def run_once(self) -> float:
        """Every settled sale whose keys are still there; a sale in trouble holds up no other."""
        rows = await self._context.ledger.fetch(
            QUERIES["settled_with_keys"], self._config.patience_seconds
        )
        sales = [row["sale_id"] for row in rows]
        await for_each(sales, self._retire, self._notices, "settlement_waits")
        return self._config.interval_seconds

    async def _retire(self, sale_id: str) -> None:
        async with self._context.ledger.acquire() as connection, connection.transaction():
            outcome = await retire(connection, self._context.reader, sale_id, every_room_key)
            if outcome == "taken_back":
                await write_audit(connection, AuditAction.SALE_UNSETTLED, sale_id)
        self._notices.warn("settlement_finished", sale_id, outcome=outcome)
