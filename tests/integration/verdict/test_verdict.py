"""The verdict of a whole sale, and of sales in states where not everything can be judged."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from config.stack.server import free_port
from gateway.inventory.events import Position
from loadtest.client.history import Attempt
from loadtest.verdict.finding import Outcome
from loadtest.verdict.ledger import UnknownSaleError
from loadtest.verdict.run import check_servers, verify
from tests.support.sales.honest_history import history_of
from tests.support.sales.judged_sale import JudgedSale

NEEDS_HISTORY = {10, 11}


async def test_a_whole_sale_holds(judged_sale: JudgedSale) -> None:
    verdict = await judged_sale.verdict()
    assert verdict.holds
    not_judged = {f.invariant for f in verdict.findings if f.outcome is Outcome.NOT_JUDGED}
    assert not_judged == NEEDS_HISTORY
    assert [f.invariant for f in verdict.findings] == list(range(1, 13))


async def test_with_a_history_nothing_is_left_open(judged_sale: JudgedSale) -> None:
    verdict = await judged_sale.verdict(history_of(judged_sale))
    assert verdict.holds, verdict.to_json()
    not_judged = {f.invariant for f in verdict.findings if f.outcome is Outcome.NOT_JUDGED}
    assert not_judged == set()


async def test_refusals_that_were_due_hold(judged_sale: JudgedSale) -> None:
    """The holder has one of four shirts; of five caps one is held, and two lie at each location."""
    history = history_of(judged_sale)
    for buyer, code, sku, units in (
        ("holder", "limit_exceeded", "shirt", 4),
        ("comer", "sold_out", "cap", 5),
        ("other", "sold_out", "cap", 3),
    ):
        history.add(
            Attempt(
                *("reserve", "buyer", buyer, 409, 9.0, 0.1, f"key-{sku}", code),
                sku=sku,
                wanted=((sku, units),),
            )
        )
    verdict = await judged_sale.verdict(history)
    assert verdict.holds, verdict.to_json()
    assert "1 of 1 answers limit_exceeded judged" in verdict.finding(4).detail
    assert "2 of 2 answers sold_out judged" in verdict.finding(8).detail


async def test_without_a_waiting_room_there_are_no_admissions(judged_sale: JudgedSale) -> None:
    await judged_sale.execute("UPDATE sales SET spec = spec - 'waiting_room' WHERE sale_id = $1")
    assert (await judged_sale.verdict()).finding(9).outcome is Outcome.NOT_JUDGED


async def test_it_waits_for_the_drain(judged_sale: JudgedSale) -> None:
    await judged_sale.reserve("late", 1, 0, 1)
    undrained = await judged_sale.verdict()
    assert undrained.finding(12).outcome is Outcome.BROKEN
    assert undrained.finding(7).outcome is Outcome.NOT_JUDGED
    await judged_sale.apply()
    assert (await judged_sale.verdict(drain_timeout_seconds=10)).holds


async def test_a_second_epoch_continues_the_first(judged_sale: JudgedSale) -> None:
    """Deadlines of holds move with the outage, and the log goes on at (2, 1)."""
    sale = judged_sale
    last = await sale.store.snapshot(sale.partition)
    await sale.execute(
        "INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, next_epoch) "
        "SELECT sale_id, 0, epoch, sequence, 2 FROM watermarks WHERE sale_id = $1"
    )
    closed = Position(last.epoch, last.sequence)
    assert await sale.store.recover(sale.partition, 2, closed, last.read_at - 60_000) == "recovered"
    await sale.apply()
    verdict = await sale.verdict()
    assert verdict.holds, verdict.to_json()


async def test_lost_keys_break_the_drain_and_nothing_is_made_up(judged_sale: JudgedSale) -> None:
    await judged_sale.redis.delete(judged_sale.key("reservations"), judged_sale.key("meta"))
    verdict = await judged_sale.verdict()
    assert verdict.finding(12).outcome is Outcome.BROKEN
    assert "not loaded" in verdict.finding(12).examples[0]
    assert verdict.finding(7).outcome is Outcome.NOT_JUDGED


async def test_a_settled_sale_is_judged_from_the_ledger_alone(judged_sale: JudgedSale) -> None:
    await judged_sale.redis.flushall()
    await judged_sale.execute("UPDATE sales SET state = 'settled' WHERE sale_id = $1")
    verdict = await judged_sale.verdict()
    assert verdict.holds, verdict.to_json()
    assert "settled" in verdict.finding(7).detail


async def test_a_sale_that_was_never_opened(judged_sale: JudgedSale) -> None:
    await judged_sale.execute(
        "INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key) "
        "SELECT 'never', 'draft', spec, 1, currency, hash_key FROM sales WHERE sale_id = $1"
    )
    verdict = await verify("never", redis_url=judged_sale.redis_url, dsn=judged_sale.dsn)
    assert verdict.holds
    assert verdict.finding(7).outcome is Outcome.NOT_JUDGED


async def test_an_unknown_sale_is_an_error(judged_sale: JudgedSale) -> None:
    with pytest.raises(UnknownSaleError):
        await verify("nothing", redis_url=judged_sale.redis_url, dsn=judged_sale.dsn)


async def test_a_server_that_was_never_there_is_told_at_once(judged_sale: JudgedSale) -> None:
    await check_servers(judged_sale.redis_url, judged_sale.dsn)
    with pytest.raises(RedisConnectionError):
        await check_servers(f"redis://127.0.0.1:{free_port()}/0", judged_sale.dsn)
    nowhere = f"postgresql://127.0.0.1:{free_port()}/dropgate"
    with pytest.raises(ConnectionRefusedError):
        await check_servers(judged_sale.redis_url, nowhere)


async def test_a_redis_that_is_still_loading_is_there(judged_sale: JudgedSale) -> None:
    async def load(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"+OK\r\n" * data.count(b"SETINFO"))
            if b"PING" in data:
                writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()

    async with await asyncio.start_server(load, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await check_servers(f"redis://127.0.0.1:{port}/0", judged_sale.dsn)


async def test_a_server_that_stays_away_is_an_error(judged_sale: JudgedSale) -> None:
    with pytest.raises(RedisConnectionError):
        await verify(
            judged_sale.sale_id,
            redis_url=f"redis://127.0.0.1:{free_port()}/0",
            dsn=judged_sale.dsn,
            drain_timeout_seconds=0.2,
        )
