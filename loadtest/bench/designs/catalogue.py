"""The contestants that are not dropgate, by name: bare echoes and reference designs."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from loadtest.bench.designs.design import DesignFactory
from loadtest.bench.designs.echo import echo, msgspec_echo
from loadtest.bench.designs.postgres.conditional import PostgresConditional
from loadtest.bench.designs.postgres.for_update import PostgresForUpdate
from loadtest.bench.designs.postgres.lock_database import LockDatabase
from loadtest.bench.designs.postgres.skip_locked import PostgresSkipLocked
from loadtest.bench.designs.postgres.version import PostgresVersion
from loadtest.bench.designs.redis.decr_incr import RedisDecrIncr
from loadtest.bench.designs.redis.evalsha import RedisEvalsha
from loadtest.bench.designs.redis.get_decr import RedisGetDecr
from loadtest.bench.designs.redis.watch import RedisWatch

ECHOES: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
    "echo": echo,
    "msgspec_echo": msgspec_echo,
}

DESIGNS: dict[str, DesignFactory] = {
    "redis_evalsha": RedisEvalsha,
    "redis_get_decr": RedisGetDecr,
    "redis_decr_incr": RedisDecrIncr,
    "redis_watch": RedisWatch,
    "lock_database": LockDatabase,
    "postgres_conditional": PostgresConditional,
    "postgres_for_update": PostgresForUpdate,
    "postgres_version": PostgresVersion,
    "postgres_skip_locked": PostgresSkipLocked,
}
