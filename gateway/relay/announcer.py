"""Settled sales → event log: each final accounting on a topic of its own, at least once.

A settlement is final once the sale's keys are gone from Redis, which the ledger notes; until then
it may be taken back, and holds up no other.
An announcement is noted in the ledger after Kafka's acknowledgement. A relay that dies in between
announces again: a consumer recognizes a copy by its sale.
"""

import asyncio

import asyncpg
import structlog

from config.settings import EventLogSettings
from gateway.process.audit import AuditAction
from gateway.process.postgres import LEDGER_FAULTS
from gateway.relay.producer import EventProducer, LogUnavailable
from gateway.relay.queries import QUERIES

LOOK_SECONDS = 1.0

_log = structlog.get_logger()


class SettlementAnnouncer:
    """Announces settlements. Several relays may: each takes rows that no other has in hand."""

    def __init__(
        self,
        ledger: asyncpg.Pool,
        producer: EventProducer,
        settings: EventLogSettings,
    ) -> None:
        """`producer` is used by nobody else."""
        self._ledger = ledger
        self._producer = producer
        self._topic = settings.settlement_topic

    async def keep(self) -> None:
        """Announce whatever there is, looking once a second, until it is cancelled."""
        while True:
            try:
                announced = await self.announce()
            except (*LEDGER_FAULTS, LogUnavailable) as error:
                _log.warning("settlement_waits", error=str(error) or type(error).__name__)
                announced = False
            await asyncio.sleep(0 if announced else LOOK_SECONDS)

    async def announce(self) -> bool:
        """Announce one settlement that nobody has announced yet; False where there is none.

        Raises LogUnavailable, and what a lost Postgres raises: it is tried again.
        """
        async with self._ledger.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                QUERIES["unannounced_settlement"], AuditAction.SALE_SETTLED
            )
            if row is None:
                return False
            await self._producer.send_one(self._topic, row["sale_id"], row["event"])
            await connection.execute(QUERIES["note_announcement"], row["sale_id"])
        _log.info("settlement_announced", sale_id=row["sale_id"], topic=self._topic)
        return True
