"""Dead letters to their topic, for whoever watches events set aside; the table stays the truth.

A letter is published after it is in the table, and marked after all in-sync replicas have it. After
a crash in between it is published again, under the same `identity`. The broker may be away for any
length of time: publishing runs beside the writer, which never waits for it.
"""

import asyncio

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer

from config.settings import EventLogSettings
from config.waiting import happened_within
from gateway.process.kafka import kafka_within, stop_client
from order_writer.ledger import statements
from order_writer.writing.faults import PASSING, fault_backoff

INTERVAL_SECONDS = 1.0
MOST_LETTERS_PER_ROUND = 100
# Below the ledger's idle_in_transaction_session_timeout: the rows are locked meanwhile.
PRODUCE_TIMEOUT_SECONDS = 8.0

Headers = list[tuple[str, bytes]]

_log = structlog.get_logger()


class DeadLetterTopic:
    """Publishes letters. Several may run: each takes letters that no other has in hand."""

    def __init__(self, pool: asyncpg.Pool, settings: EventLogSettings, stop: asyncio.Event) -> None:
        self._pool = pool
        self._settings = settings
        self._stop = stop

    async def run(self) -> None:
        """Publish until the process is to stop."""
        backoff = fault_backoff()
        while not await happened_within(self._stop, INTERVAL_SECONDS):
            try:
                while await self.publish() == MOST_LETTERS_PER_ROUND:
                    pass
                backoff.reset()
            except PASSING as error:
                _log.warning("dead_letters_not_published", error=repr(error))
                await backoff.pause_unless(self._stop)

    async def publish(self) -> int:
        """Publish letters that are not published yet, at most MOST_LETTERS_PER_ROUND; how many.

        Raises what Postgres and Kafka raise, and TimeoutError after PRODUCE_TIMEOUT_SECONDS.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            letters = await connection.fetch(
                statements.QUERIES["letters_to_publish"], MOST_LETTERS_PER_ROUND
            )
            if letters:
                await self._produce(letters)
                await connection.execute(
                    statements.QUERIES["mark_published"], [row["dead_letter_id"] for row in letters]
                )
        return len(letters)

    async def _produce(self, letters: list[asyncpg.Record]) -> None:
        # Dead letters are rare: a producer made for each round cannot have gone stale.
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=self._settings.request_timeout_milliseconds,
        )
        try:
            async with kafka_within(PRODUCE_TIMEOUT_SECONDS):
                await producer.start()
                sent = [
                    await producer.send(
                        self._settings.dead_letter_topic,
                        key=_key(letter),
                        value=letter["raw"],
                        headers=_headers(letter),
                    )
                    for letter in letters
                ]
                await asyncio.gather(*sent)
        finally:
            await stop_client(producer)


def _key(letter: asyncpg.Record) -> bytes | None:
    if letter["sale_id"] is None:
        return None
    return f"{letter['sale_id']}:{letter['partition']}".encode()


def _headers(letter: asyncpg.Record) -> Headers:
    names = ("identity", "dead_letter_id", "reason", "error", "epoch", "sequence", "reservation_id")
    return [(name, str(letter[name]).encode()) for name in names if letter[name] is not None]
