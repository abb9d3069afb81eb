"""Duty: sales open and close at their times; a change of state that a crash cut short is finished.

The ledger holds the intended state; a partition in another state, or unknown to Redis, is made to
follow: at once where this duty has written that state, else when the gateway that wrote it has had
its time. Two that open one sale together only hold up each other. No partition follows a ledger
that came back older: a sale that was paused since would go on.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

from gateway.inventory.opening import Verb, carry_state, intend_state
from gateway.inventory.redis.memory import read_memory
from gateway.process.audit import AuditAction
from reconciler.context import QUERIES, Context
from reconciler.duties.audit import ACTOR, write_audit
from reconciler.duties.directory import LivePartition
from reconciler.duties.sights import Seen, Sights
from reconciler.keeping.notices import Notices
from reconciler.keeping.periodic import for_each


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """`interval_seconds`: longest pause between looks; edges of windows are met more closely.
    `patience_seconds`: how long a gateway may take to carry a state that it wrote.
    """

    interval_seconds: float = 1.0
    patience_seconds: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a pause that is not positive."""
        if self.interval_seconds <= 0 or self.patience_seconds < 0:
            raise ValueError("window: interval_seconds > 0, patience_seconds >= 0")


class Window:
    """Opens and closes sales, and carries their states to the partitions."""

    name: ClassVar[str] = "window"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 30.0

    def __init__(self, context: Context, sights: Sights, config: WindowConfig) -> None:
        self._context = context
        self._sights = sights
        self._config = config
        self._notices = Notices()
        self._lagging: dict[str, float] = {}  # by sale: until when it is left to the gateway

    async def run_once(self) -> float:
        """Edges of windows first, then partitions that do not follow."""
        for row in await self._context.ledger.fetch(QUERIES["due_sales"]):
            await self._turn(row["sale_id"], Verb(row["verb"]))
            self._sights.outdate()
        seen = await self._sights.current()
        lagging = [each.live for each in seen if _lags(each)]
        found = await for_each(lagging, self._sale_to_carry, self._notices, "window_waits")
        sales = sorted({sale_id for sale_id in found if sale_id is not None})
        now = time.monotonic()
        patient = now + self._config.patience_seconds
        self._lagging = {sale_id: self._lagging.get(sale_id, patient) for sale_id in sales}
        due = [sale_id for sale_id, until in self._lagging.items() if until <= now]
        await for_each(due, self._carry, self._notices, "carrying_waits")
        until_edge = await self._context.ledger.fetchval(QUERIES["seconds_to_next_edge"])
        interval = self._config.interval_seconds
        return interval if until_edge is None else min(interval, max(0.0, until_edge))

    async def _turn(self, sale_id: str, verb: Verb) -> None:
        async with self._context.ledger.acquire() as connection, connection.transaction():
            intention = await intend_state(connection, sale_id, verb)
            if intention.outcome == "changed":
                action = AuditAction(f"sale_{verb}")
                await write_audit(connection, action, sale_id, version=intention.version)
        self._lagging[sale_id] = 0.0

    async def _sale_to_carry(self, live: LivePartition) -> str | None:
        """The partition's sale, unless the ledger came back older than the partition."""
        memory = await read_memory(self._context.reader, live.partition)
        if memory.lacking(live.watermark):
            # The partition's state is the newer; the order writer gives it to the sale.
            self._notices.warn("state_not_carried", str(live), reason="ledger_older")
            return None
        return live.partition.sale_id

    async def _carry(self, sale_id: str) -> None:
        context = self._context
        async with context.ledger.acquire() as connection:
            await carry_state(connection, context.store, sale_id, context.bounds, actor=ACTOR)


def _lags(seen: Seen) -> bool:
    """Whether the partition is not in the intended state."""
    if seen.sight is None:
        # Missing keys are a sale half opened only while Redis has never had them.
        return not seen.live.was_loaded
    return seen.sight.state != seen.live.sale_state
