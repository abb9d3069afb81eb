"""Which events count as acknowledged: of each partition, those before its first failure."""

import asyncio

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import OutboxEntry
from gateway.relay.producer import Outgoing, acknowledged_of

A, B = PartitionId("a", 0), PartitionId("b", 0)


def event(partition: PartitionId, sequence: int) -> Outgoing:
    return Outgoing(partition, OutboxEntry(Position(1, sequence), b"{}"))


def answered(*outcomes: str) -> list[asyncio.Future[object]]:
    """`yes`: acknowledged. `no`: refused. `silent`: nothing heard yet."""
    futures: list[asyncio.Future[object]] = []
    for outcome in outcomes:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if outcome == "yes":
            future.set_result(None)
        elif outcome == "no":
            future.set_exception(ConnectionError())
        futures.append(future)
    return futures


async def test_a_failure_stops_its_own_partition_and_no_other() -> None:
    events = [event(A, 1), event(A, 2), event(A, 3), event(B, 1), event(B, 2)]
    found = acknowledged_of(events, answered("yes", "no", "yes", "yes", "silent"))
    assert found == [event(A, 1), event(B, 1)]


async def test_what_was_never_sent_is_not_acknowledged() -> None:
    events = [event(A, 1), event(A, 2), event(B, 1)]
    assert acknowledged_of(events, answered("yes")) == [event(A, 1)]


async def test_a_cancelled_wait_is_no_acknowledgement() -> None:
    futures = answered("silent", "yes")
    futures[0].cancel()
    assert acknowledged_of([event(A, 1), event(A, 2)], futures) == []
