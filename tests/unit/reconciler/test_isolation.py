"""How long a new primary is left alone, by a clock of the test's own."""

import pytest

from config.settings import RedisSettings
from gateway.inventory.redis.durability import MIN_REPLICAS_MAX_LAG_SECONDS
from reconciler.rebuilding.isolation import ISOLATION_SECONDS, Isolation


class Clock:
    """Stands still, but for sleeping and being moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("reconciler.rebuilding.isolation.time", made)
    monkeypatch.setattr("reconciler.rebuilding.isolation.asyncio", made)
    return made


async def test_an_old_primary_has_stopped_writing_before_the_new_one_is_touched(
    clock: Clock,
) -> None:
    assert ISOLATION_SECONDS > MIN_REPLICAS_MAX_LAG_SECONDS
    isolation = Isolation(RedisSettings(sentinels="sentinel:26379"))
    await isolation.passed("first")
    assert clock.now == 1000.0 + ISOLATION_SECONDS
    clock.now += 0.5
    await isolation.passed("first")  # for the next partition it has passed already
    assert clock.now == 1000.5 + ISOLATION_SECONDS
    await isolation.passed("second")  # another failover begins anew
    assert clock.now == 1000.5 + 2 * ISOLATION_SECONDS


async def test_a_redis_that_nothing_replaces_is_looked_at_once(clock: Clock) -> None:
    await Isolation(RedisSettings()).passed("first")
    assert clock.now == 1000.0
