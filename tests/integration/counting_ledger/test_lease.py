"""The lease that names the ledger which counts: who takes it over, and when."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio
from redis.exceptions import RedisError

from gateway.inventory.keys import LEDGER_KEY, LEDGER_LEASE_KEYS
from gateway.inventory.redis.ledger_fence import LedgerFence, LedgerFenced
from gateway.process.ledger_identity import LedgerIdentity
from tests.support.waiting import wait_until

OLD, NEW = (
    LedgerIdentity(7_123_456_789_012_345_678, 1),
    LedgerIdentity(7_123_456_789_012_345_678, 2),
)
FOREIGN = LedgerIdentity(7_999_999_999_999_999_999, 9)
SHORT_SECONDS = 0.3


@pytest_asyncio.fixture
async def client(each_redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the newest and of the oldest Redis."""
    client = redis.asyncio.Redis.from_url(each_redis_url, protocol=2)
    yield client
    await client.aclose()


async def refused(fence: LedgerFence, identity: LedgerIdentity) -> bool:
    try:
        await fence.claim(identity)
    except LedgerFenced:
        return True
    return False


async def test_the_first_ledger_counts_and_renews(client: redis.asyncio.Redis) -> None:
    fence = LedgerFence(client)
    await fence.claim(OLD)
    await fence.claim(OLD)
    assert fence.counts == OLD
    assert await client.get(LEDGER_KEY) == str(OLD).encode()


async def test_a_promoted_copy_counts_at_once_and_fences_the_former_primary(
    client: redis.asyncio.Redis,
) -> None:
    old, new = LedgerFence(client), LedgerFence(client)
    await old.claim(OLD)
    await new.claim(NEW)
    with pytest.raises(LedgerFenced, match=f"{OLD} does not count: {NEW} does"):
        await old.claim(OLD)
    assert old.counts == NEW
    await new.claim(NEW)


@pytest.mark.parametrize(("counting", "other"), [(NEW, OLD), (OLD, FOREIGN), (FOREIGN, NEW)])
async def test_any_other_copy_counts_only_when_nobody_renews(
    client: redis.asyncio.Redis, counting: LedgerIdentity, other: LedgerIdentity
) -> None:
    long, short = LedgerFence(client, 600), LedgerFence(client, SHORT_SECONDS)
    await long.claim(counting)
    assert await refused(LedgerFence(client, 600), other)
    await short.claim(counting)

    async def accepted() -> bool:
        return not await refused(short, other)

    await wait_until(accepted, "the lease has run out")
    assert await client.get(LEDGER_KEY) == str(other).encode()
    assert await refused(short, counting) == (not counting.succeeds(other))


async def test_a_lease_from_before_the_clock_was_set_back_has_run_out(
    client: redis.asyncio.Redis,
) -> None:
    await LedgerFence(client, 600).claim(NEW)
    await client.incrby(LEDGER_LEASE_KEYS[1], 600_000)
    assert not await refused(LedgerFence(client, 600), OLD)


async def test_keys_that_no_claim_has_written_are_replaced(client: redis.asyncio.Redis) -> None:
    for key in LEDGER_LEASE_KEYS:
        await client.lpush(key, "not a string")
    await LedgerFence(client).claim(OLD)
    await client.set(LEDGER_KEY, "no ledger")
    await LedgerFence(client).claim(NEW)
    assert await client.get(LEDGER_KEY) == str(NEW).encode()


async def test_who_was_refused_does_not_take_the_lease_that_redis_lost(
    client: redis.asyncio.Redis,
) -> None:
    old, new = LedgerFence(client, 600), LedgerFence(client, 600)
    await new.claim(NEW)
    assert await refused(old, OLD)
    await client.delete(*LEDGER_LEASE_KEYS)
    assert await refused(old, OLD)
    assert await client.get(LEDGER_KEY) is None
    await new.claim(NEW)
    assert not await refused(LedgerFence(client, 600), NEW)


class _Away:
    """A Redis that nobody reaches."""

    def register_script(self, _source: bytes) -> "_Away":
        return self

    async def __call__(self, **_: object) -> bytes:
        raise RedisError("away")


async def test_without_redis_the_last_ledger_counts_on_and_so_does_its_promoted_copy() -> None:
    fence = LedgerFence(_Away())  # type: ignore[arg-type]
    await fence.require(OLD)
    with pytest.raises(LedgerFenced):
        await fence.require(FOREIGN)
    await fence.require(NEW)
    with pytest.raises(LedgerFenced):
        await fence.require(OLD)
