"""Replay of dead letters: an event set aside takes its own number after all.

A request is a row with status `replay_requested` and a NOTIFY on `dropgate_writer`. The letter and
the letters that waited behind it are applied in the order of their numbers, each in its own
transaction; the first letter that fails stays dead with the new error, and so do those after it.
"""

from dataclasses import dataclass

import asyncpg
import structlog

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from order_writer.folding.fold import Fold
from order_writer.folding.items import Item, decode_items, plain_text
from order_writer.ledger import statements
from order_writer.log.event_log import LogEntry
from order_writer.writing.faults import is_poison
from order_writer.writing.writer import Writer

MOST_REQUESTS_PER_ROUND = 100
MOST_LETTERS_PER_REQUEST = 1000

_REPLAYABLE = frozenset({"undecodable", "refused", "waits_behind"})
_log = structlog.get_logger()


class _Refused(Exception):
    """The letter cannot be applied, whatever is tried."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Serves the requests for a replay."""

    writer: Writer

    async def serve(self) -> int:
        """Serve the requests at hand, at most MOST_REQUESTS_PER_ROUND; returns how many.

        Each letter ends replayed or dead.

        Raises what Redis and Postgres raise when they are away; nothing is half done then.
        """
        async with self.writer.pool.acquire() as connection:
            rows = await connection.fetch(
                statements.QUERIES["requested_replays"], MOST_REQUESTS_PER_ROUND
            )
        for row in rows:
            await self._serve_one(row["dead_letter_id"])
        return len(rows)

    async def _serve_one(self, asked: int) -> None:
        async with self.writer.pool.acquire() as connection:
            letters = await connection.fetch(
                statements.QUERIES["letters_to_replay"], asked, MOST_LETTERS_PER_REQUEST
            )
        for letter in letters:
            number = letter["dead_letter_id"]
            try:
                await self._apply(letter)
            except Exception as error:
                if not (isinstance(error, _Refused) or is_poison(error)):
                    raise
                await self._store_status(number, "dead", plain_text(str(error) or repr(error)))
                _log.warning("replay_refused", dead_letter_id=number, error=str(error))
                return
            _log.info("replayed", dead_letter_id=number)

    async def _apply(self, letter: asyncpg.Record) -> None:
        if letter["reason"] not in _REPLAYABLE:
            raise _Refused(f"an event set aside as {letter['reason']} has no number to take")
        letter_id = letter["dead_letter_id"]
        item = await self._readable(letter)
        fold = Fold()
        fold.add([item])  # its watermark is long past: only the rows are stored
        folded = fold.result()
        async with self.writer.pool.acquire() as connection, connection.transaction():
            await statements.lock_watermarks(connection, [item.entry.partition])
            if await connection.fetchval(statements.QUERIES["stands_before"], letter_id):
                raise _Refused("an earlier event of the same reservation is still set aside")
            await statements.write(connection, folded, replayed=True)
            await connection.execute(
                statements.QUERIES["resolve_letter"], letter_id, "replayed", None
            )

    async def _readable(self, letter: asyncpg.Record) -> Item:
        """The letter's event, from the letter or, if that is unreadable, from the outbox."""
        partition = PartitionId(letter["sale_id"], letter["partition"])
        position = Position(letter["epoch"], letter["sequence"])
        item = decode_items([LogEntry(partition, position, letter["raw"])])[0]
        if item.death is not None:
            copy = await self.writer.outbox.at(partition, position)
            if copy is not None:
                item = decode_items([copy])[0]
        if item.death is not None:
            raise _Refused(item.death.error)
        return item

    async def _store_status(self, number: int, status: str, error: str) -> None:
        async with self.writer.pool.acquire() as connection:
            await connection.execute(statements.QUERIES["resolve_letter"], number, status, error)
