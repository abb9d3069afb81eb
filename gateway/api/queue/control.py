"""Operators' calls for a waiting room: figures, pausing, pacing, removing a buyer; and its draw.

A change has its audit row first, then takes effect in Redis, then is stored in the ledger, so that
it outlives Redis. Every change may be repeated.
"""

import time
from typing import Literal, cast

from gateway.admission.waiting_room.checkpoints import RoomRecord
from gateway.admission.waiting_room.draw import commitment_of
from gateway.api.contract.operator_schemas import QueueFigures
from gateway.api.contract.problems import Problem
from gateway.api.contract.rendering import instant
from gateway.api.contract.schemas import DrawAnswer
from gateway.api.ledger.audit import Caller, write_audit
from gateway.api.ledger.connections import Ledger
from gateway.api.queue.places import Queue
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.lookup import facts_or_problem
from gateway.process.audit import AuditAction

MILLI = 1000
DRAW_FRESH_SECONDS = 1.0
DRAWS_MAX = 1000
_CONTROLS = {
    "pause": AuditAction.QUEUE_PAUSE,
    "queue_all": AuditAction.QUEUE_ALL,
    "resume": AuditAction.QUEUE_RESUME,
}


class QueueOperations:
    """Operators' calls for rooms; methods raise Problem, LedgerUnavailable, InventoryError."""

    def __init__(self, queue: Queue, directory: SaleDirectory, ledger: Ledger) -> None:
        """`queue` has the worker's rooms, `ledger` the audit log."""
        self._queue = queue
        self._draws: dict[str, tuple[DrawAnswer, float]] = {}
        self._directory = directory
        self._ledger = ledger

    async def figures(self, sale_id: str) -> QueueFigures:
        """The room's figures as last read, a fraction of a second ago."""
        room = await self._queue.room_of(sale_id)
        view = room.view
        reading = view.reading
        return QueueFigures(
            sale_id=sale_id,
            mode=cast("Literal['open', 'paused', 'queue_all']", reading.mode),
            issued=reading.issued,
            waiting=view.waiting,
            serving=reading.serving,
            admitted=reading.active,
            max_active_buyers=room.facts.max_active_buyers,
            rate=reading.rate / MILLI,
            rate_limit=reading.rate_limit / MILLI if reading.rate_limit else None,
            outflow=reading.outflow / MILLI,
            outflow_minute=reading.outflow_slow / MILLI,
            units_left=reading.stock,
            units_may_return=reading.returnable,
            revoked=room.revoked_buyers,
            drawn=reading.drawn if room.facts.draws and reading.drawn >= 0 else None,
        )

    async def control(self, sale_id: str, verb: str, caller: Caller) -> QueueFigures:
        """Change the room's mode; `verb`: pause, queue_all or resume."""
        room = await self._queue.room_of(sale_id)
        await self._audit(caller, _CONTROLS[verb], sale_id)
        await room.control(verb)
        return await self.figures(sale_id)

    async def set_rate(
        self, sale_id: str, per_second: float | None, caller: Caller
    ) -> QueueFigures:
        """Bound the buyers called per second; None removes the bound."""
        room = await self._queue.room_of(sale_id)
        await self._audit(caller, AuditAction.QUEUE_RATE, sale_id, per_second=per_second)
        await room.control("rate", 0 if per_second is None else max(1, round(per_second * MILLI)))
        return await self.figures(sale_id)

    async def revoke(
        self, sale_id: str, buyer_id: str, reason: str, caller: Caller
    ) -> QueueFigures:
        """Remove a buyer for good: the place is gone, and admissions are no longer honoured."""
        room = await self._queue.room_of(sale_id)
        await self._audit(
            caller, AuditAction.QUEUE_REVOKE, sale_id, buyer_id=buyer_id, reason=reason
        )
        if await room.revoke(buyer_id) == "too_many":
            raise Problem(
                "invalid_state",
                "The waiting room has as many revoked buyers as it can keep.",
                reason="revoked",
            )
        return await self.figures(sale_id)

    async def draw(self, sale_id: str) -> DrawAnswer:
        """The draw's commitment and, once it was held, everything needed to check it."""
        facts = await facts_or_problem(self._directory, sale_id)
        if facts.spec.waiting_room is None or facts.spec.waiting_room.order != "draw":
            raise Problem("invalid_state", "The sale has no draw.")
        known = self._draws.get(sale_id)
        if known is not None and (known[0].seed or time.monotonic() < known[1]):
            return known[0]
        answer = _draw_answer(sale_id, await (await self._queue.room_of(sale_id)).record())
        self._draws[sale_id] = (answer, time.monotonic() + DRAW_FRESH_SECONDS)
        while len(self._draws) > DRAWS_MAX:
            self._draws.pop(next(iter(self._draws)))
        return answer

    async def _audit(
        self, caller: Caller, action: AuditAction, sale_id: str, **detail: object
    ) -> None:
        async with self._ledger.transaction() as connection:
            await write_audit(connection, caller, action, sale_id, **detail)


def _draw_answer(sale_id: str, record: RoomRecord) -> DrawAnswer:
    held = record.drawn is not None
    return DrawAnswer(
        sale_id=sale_id,
        commitment=commitment_of(record.seed).hex(),
        seed=record.seed.hex() if held else None,
        count=record.drawn,
        drawn_at=instant(record.drawn_at) if record.drawn_at else None,
    )
