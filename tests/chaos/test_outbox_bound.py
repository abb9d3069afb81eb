"""Something behind the gateway stays away for longer than the outbox may grow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
import pytest_asyncio

from loadtest.client.history import Attempt
from tests.chaos.faults.kafka import is_relayed, read_sale
from tests.chaos.rig.running import running_up
from tests.chaos.rig.trial import UNIT, Trial, trial
from tests.support.insisting import PASSING
from tests.support.up import Up
from tests.support.waiting import wait_until

BOUND = "DROPGATE_INVENTORY__OUTBOX_BOUND_EVENTS"
SMALL_BOUND_EVENTS = 150
BOUND_EVENTS = 300
MORE = 20
WAVE = BOUND_EVENTS // 2 + MORE  # the events of two are more than the outbox may hold


@pytest_asyncio.fixture(scope="module")
async def bounded_up() -> AsyncIterator[Up]:
    """A `dropgate up` with a broker and a small bound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BOUND, str(BOUND_EVENTS))
        async with running_up("--event-log", "kafka") as running:
            yield running


async def test_a_ledger_that_stays_away_stops_promises_and_no_payment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BOUND, str(SMALL_BOUND_EVENTS))
    units = SMALL_BOUND_EVENTS + 2 * MORE
    async with running_up() as up, trial(up, units=units, hold_seconds=600) as run:
        held = [await run.reserve("ann", "first")]
        async with run.down("order_writer"):
            answers = await _reserved(run, SMALL_BOUND_EVENTS + MORE)
            refused = [a for a in answers if a.code == "ledger_behind"]
            assert len(refused) >= MORE
            assert all(a.status == 503 and a.retry_after for a in refused)
            held += [a for a in answers if a.accepted]
            paid = await asyncio.gather(*(run.pay(each) for each in held))
            assert all(a.accepted for a in paid)
        await run.judge()


async def test_a_broker_that_stays_away_stops_nobody_and_its_log_is_whole_in_the_end(
    bounded_up: Up,
) -> None:
    async with trial(bounded_up, units=2 * WAVE, hold_seconds=600) as run:
        await _ledger_follows(run)
        async with run.down("kafka"):
            held: list[Attempt] = []
            for _ in range(2):
                held += await _reserved(run, WAVE, since=len(held))
                await _ledger_follows(run)
            assert all(a.accepted for a in held)
            paid = await asyncio.gather(*(run.pay(each) for each in held))
            assert all(a.accepted for a in paid)
            await _ledger_follows(run)
        await run.judge()
        await wait_until(lambda: is_relayed(run), "Kafka has what it missed")
        records = [dict(record.headers) for record in await read_sale(bounded_up, run.sale_id)]
        _, last = await run.watermark()
        assert {int(one["sequence"]) for one in records} == set(range(1, last + 1))
        await run.judge()


@pytest.mark.parametrize("also_away", ["order_writer", "postgres"])
async def test_reservations_go_on_to_the_bound_while_broker_and_ledger_are_away(
    bounded_up: Up, also_away: str
) -> None:
    async with trial(bounded_up, units=BOUND_EVENTS + MORE, hold_seconds=600) as run:
        await _ledger_follows(run)
        async with AsyncExitStack() as away:
            await away.enter_async_context(run.down("kafka"))
            if also_away == "postgres":
                await away.enter_async_context(run.stopped("postgres"))
            else:
                run.kill(also_away)  # nobody starts it again while Kafka is down
            answers = await _reserved(run, BOUND_EVENTS + MORE)
            held = [a for a in answers if a.accepted]
            refused = [a for a in answers if (a.status, a.code) == (503, "ledger_behind")]
            assert (len(held), len(refused)) == (BOUND_EVENTS, MORE)
            assert all(a.retry_after for a in refused)
            assert (await run.pay(held[0])).accepted, "a promise is kept all the same"
        held.append(await run.reserve(refused[0].buyer_id, "key"))
        paid = await asyncio.gather(*(run.pay(each) for each in held))
        assert all(a.accepted for a in paid)
        await run.judge()
        await wait_until(lambda: is_relayed(run), "Kafka has what it missed")


async def _reserved(run: Trial, count: int, *, since: int = 0) -> list[Attempt]:
    """So many buyers reserve at once, each until there is an answer; `ledger_behind` is one."""

    async def answer(name: str) -> Attempt | None:
        attempt = await run.calls.reserve(name, "key", UNIT)
        is_passing = attempt.status in PASSING and attempt.code != "ledger_behind"
        return None if is_passing else attempt

    names = [f"buyer-{number}" for number in range(since, since + count)]
    return await asyncio.gather(*(wait_until(partial(answer, name)) for name in names))


async def _ledger_follows(run: Trial) -> None:
    """Wait until the partition has recorded that the ledger has all its events."""

    async def is_told() -> bool:
        async with run.redis() as redis:
            told = await redis.hmget(f"{{{run.sale_id}:0}}:meta", "sequence", "ledger_sequence")
        return bool(told[0] == told[1])

    await wait_until(is_told, "the ledger has it all")
