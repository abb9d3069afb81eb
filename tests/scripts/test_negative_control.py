"""The rig can see an oversell: what reads, then writes, sells too much in it; reserve does not."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from redis.asyncio import Redis

from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.server import RedisServer
from tests.support.waiting import WAIT_SECONDS

UNITS, BUYERS, CONNECTIONS = 5, 40, 8
Attempt = Callable[[Redis, int], Awaitable[bool]]


def _read_then_write(rig: Rig) -> Attempt:
    """The seller everyone writes first: look whether a unit is there, then take it."""
    stock = rig.keys[1]

    async def attempt(client: Redis, _: int) -> bool:
        available = int(await _run(client, "HGET", stock, "tee:default:available"))
        if available < 1:
            return False
        await _run(client, "HSET", stock, "tee:default:available", available - 1)
        await _run(client, "HINCRBY", stock, "tee:default:held", 1)
        return True

    return attempt


def _reserve(rig: Rig) -> Attempt:
    sha = rig.scripts["reserve"].sha
    head: tuple[str | bytes | int, ...] = (sha, len(rig.keys), *rig.keys, rig.run_id, rig.epoch)

    async def attempt(client: Redis, buyer: int) -> bool:
        ask = Ask(f"r{buyer}", f"buyer-{buyer}")
        raw = await _run(client, "EVALSHA", *head, rig.pack_asks(ask))
        outcome = msgspec.msgpack.decode(raw)[4][0][1]
        assert outcome in {"accepted", "sold_out"}
        return bool(outcome == "accepted")

    return attempt


async def _run(client: Redis, *command: str | bytes | float) -> bytes:
    answer: bytes = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    return answer


async def _compete(server: RedisServer, attempt: Attempt) -> int:
    """How many of the buyers believe they have a unit."""
    clients = [
        Redis(unix_socket_path=server.socket, protocol=2, socket_timeout=WAIT_SECONDS)
        for _ in range(CONNECTIONS)
    ]
    try:
        tries = [attempt(clients[n % CONNECTIONS], n) for n in range(BUYERS)]
        return sum(await asyncio.gather(*tries))
    finally:
        for client in clients:
            await client.aclose()


@pytest.mark.parametrize(
    ("seller", "oversells"), [(_read_then_write, True), (_reserve, False)], ids=["naive", "reserve"]
)
async def test_many_buyers_and_few_units(
    server: RedisServer, rig: Rig, seller: Callable[[Rig], Attempt], *, oversells: bool
) -> None:
    rig.open(Sale(items=(Item("tee", stock=(("default", UNITS),)),)))
    accepted = await _compete(server, seller(rig))
    if oversells:
        assert accepted > UNITS
        return
    assert accepted == UNITS
    state = rig.state()
    assert state.stock["tee", "default"].held == UNITS
    assert state.stock["tee", "default"].available == 0
    assert len(state.records) == UNITS
    assert set(state.records) <= {token(f"r{n}") for n in range(BUYERS)}
