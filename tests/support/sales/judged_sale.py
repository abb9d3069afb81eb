"""A sale with a waiting room and every kind of reservation, in real servers, to be judged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg
import msgspec
import redis.asyncio

from config.settings import Settings
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, ReservationId
from gateway.inventory.opening import open_sale
from gateway.inventory.specs import ItemSpec, Money, SaleSpec, WaitingRoomSpec
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import AskedLines, ReserveRequest
from loadtest.client.history import History
from loadtest.verdict.run import Verdict, verify
from order_writer.folding.fold import Fold
from order_writer.folding.items import decode_items
from order_writer.ledger.statements import advance, prepare, write
from order_writer.log.outbox import Outbox
from tests.support.sales.admissions import FAR_MS
from tests.support.sales.partitions import (
    BOUNDS,
    FINGERPRINT,
    HASH_KEY,
    ONE_UNIT,
    open_store,
    token_of,
)

SHIRT = 1  # number of the item and of its account; caps are item 2, accounts 2 and 3
SPEC = SaleSpec(
    items=(
        ItemSpec(sku="shirt", price=Money(1999, "EUR"), stock=10, per_buyer_limit=4),
        ItemSpec(sku="cap", price=Money(900, "EUR"), locations={"north": 3, "south": 2}),
    ),
    waiting_room=WaitingRoomSpec(max_active_buyers=100, admission_seconds=600),
)
MOST_EVENTS = 1000
_admissions = count(1)


def admitted(token: str, buyer: str, lines: AskedLines) -> ReserveRequest:
    """A reserve with an admission that was just given out."""
    return ReserveRequest(1, token, buyer, FINGERPRINT, lines, next(_admissions), FAR_MS)


@dataclass(frozen=True)
class JudgedSale:
    """The sale and the connections to break it with."""

    partition: PartitionId
    store: ReservationStore
    redis: redis.asyncio.Redis
    ledger: "asyncpg.Connection[asyncpg.Record]"
    redis_url: str
    dsn: str

    @property
    def sale_id(self) -> str:
        return self.partition.sale_id

    def key(self, name: str) -> str:
        """One of the partition's keys."""
        return f"{{{self.sale_id}:0}}:{name}"

    def id_of(self, buyer: str) -> str:
        """The reservation id of a buyer's only reserve."""
        return str(ReservationId(self.partition, token_of(buyer)))

    async def reserve(self, buyer: str, *lines: int, hold_milliseconds: int | None = None) -> None:
        """A hold; its length may differ from the sale's, so that nobody waits for a lapse."""
        usual = await self.redis.hget(self.key("meta"), "hold_ms")
        if hold_milliseconds is not None:
            await self.redis.hset(self.key("meta"), "hold_ms", str(hold_milliseconds))
        request = admitted(token_of(buyer), buyer, AskedLines(lines))
        (reply,) = await self.store.reserve(self.partition, [request])
        assert reply.outcome == "accepted"
        assert usual is not None
        await self.redis.hset(self.key("meta"), "hold_ms", usual)

    async def apply(self) -> None:
        """Fold what is new in the outbox into the ledger, as the order writer does."""
        mark = await self.ledger.fetchrow(
            "SELECT epoch, sequence FROM watermarks WHERE sale_id = $1", self.sale_id
        )
        assert mark is not None
        position = Position(mark["epoch"], mark["sequence"])
        entries = await Outbox(self.redis).read(self.partition, position, MOST_EVENTS)
        fold = Fold()
        fold.add(decode_items(entries))
        folded = fold.result()
        async with self.ledger.transaction():
            await write(self.ledger, folded)
            await advance(self.ledger, folded)

    async def execute(self, *statements: str) -> None:
        """Change the ledger behind the order writer's back; $1 is the sale."""
        for statement in statements:
            arguments = (self.sale_id,) if "$1" in statement else ()
            await self.ledger.execute(statement, *arguments)

    async def append_event(self, event_type: str, copied_from: str, **changes: object) -> None:
        """A made-up event: the copy of another one of the log under the next number."""
        payload = await self.ledger.fetchval(
            "SELECT payload FROM ledger_events WHERE sale_id = $1 AND type = $2 "
            "ORDER BY sequence LIMIT 1", self.sale_id, copied_from,
        )  # fmt: skip
        event = msgspec.json.decode(payload) | {"type": event_type} | changes
        await self.ledger.execute(
            "INSERT INTO ledger_events "
            "SELECT sale_id, partition, epoch, max(sequence) + 1, $2, $3, now(), '\\x00', $4, "
            "block FROM ledger_events WHERE sale_id = $1 GROUP BY 1, 2, 3, block",
            self.sale_id, event_type, event.get("reservation_id"),
            msgspec.json.encode(event).decode(),
        )  # fmt: skip

    async def verdict(
        self, history: History | None = None, drain_timeout_seconds: float = 0.0
    ) -> Verdict:
        """The verdict on the sale; by default without waiting for the ledger."""
        return await verify(
            self.sale_id,
            redis_url=self.redis_url,
            dsn=self.dsn,
            history=history,
            drain_timeout_seconds=drain_timeout_seconds,
        )


async def _live(sale: JudgedSale) -> None:
    """Take every edge of the state machine once."""
    store, partition = sale.store, sale.partition
    await sale.reserve("payer", 1, 0, 2)
    await store.confirm(partition, token_of("payer"), "pay-1")
    await sale.reserve("partial", 1, 0, 3, 2, 0, 1)
    await store.confirm(partition, token_of("partial"), "pay-2", AskedLines((1, 0, 2)))
    await sale.reserve("canceller", 1, 0, 4)
    await store.cancel(partition, token_of("canceller"), "canceller")
    await sale.reserve("lapser", 2, 0, 1, hold_milliseconds=1)
    while (await store.expire(partition, 10)).expired == 0:
        pass  # at most a few milliseconds: the hold lasts one
    await sale.reserve("holder", 1, 0, 1, 2, 0, 1)
    await store.extend(partition, token_of("holder"), 1000)
    for key, restock in (("back", True), ("broken", False)):
        await store.return_units(
            partition, token_of("payer"), token_of("payer", key), ONE_UNIT,
            restock=restock, reason=key, fingerprint=FINGERPRINT,
        )  # fmt: skip
    await store.adjust(partition, SHIRT, 5, "found more", "ops")


@asynccontextmanager
async def live_sale(
    settings: Settings, client: redis.asyncio.Redis, sale_id: str
) -> AsyncIterator[JudgedSale]:
    """The sale, intact, with its connections open."""
    dsn = settings.postgres.dsn
    connection = await asyncpg.connect(dsn)
    await prepare(connection)
    async with open_store(settings.redis) as (_, store):
        await connection.execute(
            "INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key) "
            "VALUES ($1, 'draft', $2, 1, 'EUR', $3)",
            sale_id, msgspec.json.encode(SPEC).decode(), HASH_KEY,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO sale_items (sale_id, sku, position, name, price_amount, per_buyer_limit, "
            "floor) VALUES ($1, 'shirt', 1, 'shirt', 1999, 4, 0), ($1, 'cap', 2, 'cap', 900, 1, 0)",
            sale_id,
        )
        await open_sale(connection, store, sale_id, BOUNDS, actor="test")
        partition = PartitionId(sale_id, 0)
        sale = JudgedSale(partition, store, client, connection, settings.redis.url, dsn)
        await _live(sale)
        await sale.apply()
        yield sale
    await connection.close()
