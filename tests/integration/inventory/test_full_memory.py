"""Redis' memory is full: callers are told to come later, in the words of every server version."""

from pathlib import Path

import pytest
import redis.asyncio

from config.settings import Settings
from config.stack.redis import RedisServer, embedded_binary
from gateway.inventory.errors import Overloaded
from tests.support.sales.partitions import one_item, open_sale, open_store, token_of
from tests.support.sales.reserving import reserve
from tests.support.servers import patient_redis, unique


@pytest.mark.parametrize("binary", [None, embedded_binary()], ids=["newest", "oldest"])
async def test_a_write_that_memory_refuses_is_overloaded(
    settings: Settings, servers_folder: Path, binary: Path | None
) -> None:
    server = RedisServer(servers_folder / unique("redis"), binary=binary)
    await server.start()
    own = settings.model_copy(update={"redis": patient_redis(server.url)})
    async with (
        open_store(own.redis) as (_, store),
        redis.asyncio.Redis.from_url(server.url) as client,
    ):
        partition = await open_sale(store, unique("full"), one_item(2))
        assert (await reserve(store, partition, "ann")).outcome == "accepted"
        await client.config_set("maxmemory", "1")
        with pytest.raises(Overloaded):
            await reserve(store, partition, "bob")
        with pytest.raises(Overloaded):
            await store.confirm(partition, token_of("ann"), "pay-1")
        await client.config_set("maxmemory", "0")
        assert (await store.confirm(partition, token_of("ann"), "pay-1")).outcome == "confirmed"
        assert (await reserve(store, partition, "bob")).outcome == "accepted"
    await server.stop()
