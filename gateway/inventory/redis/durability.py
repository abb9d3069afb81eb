"""Durability: what a crash may lose of the answers given, and the check that Redis is set up for
it.

========  =====================================================  =================================
mode      before the answer                                      what a crash may lose
========  =====================================================  =================================
fsync     on this server's disk (`appendfsync always`)           nothing, while its disk lives
replica   held by `min-replicas-to-write` replicas (WAIT)         nothing, while one of two lives
relaxed   in this server's memory                                up to some seconds of answers
========  =====================================================  =================================
"""

from enum import StrEnum

from config.settings import RedisSettings
from gateway.inventory.errors import InventoryError, Recovering
from gateway.inventory.redis.connection import ScriptConnection

# Seconds for which an isolated primary may go on writing; a takeover waits for longer.
MIN_REPLICAS_MAX_LAG_SECONDS = 2


class Durability(StrEnum):
    """The durability modes; see the table in the module's docstring."""

    FSYNC = "fsync"
    REPLICA = "replica"
    RELAXED = "relaxed"


class DurabilityMismatch(InventoryError):
    """The server keeps less than the configured mode promises."""

    retriable = False


async def _config(connection: ScriptConnection, name: str) -> str:
    reply = await connection.send("CONFIG", "GET", name)
    if not isinstance(reply, list) or len(reply) != 2:
        raise Recovering(f"Redis does not report its {name}: {reply!r}")
    return bytes(reply[1]).decode()


async def _replication(connection: ScriptConnection) -> dict[str, str]:
    reply = await connection.send("INFO", "replication")
    if isinstance(reply, bytes):
        facts = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
        if facts.keys() >= {"role", "connected_slaves"}:
            return facts
    raise Recovering(f"Redis does not report its role in replication: {reply!r}")


async def verify_server(connection: ScriptConnection, settings: RedisSettings) -> int:
    """Check that the server keeps what the mode promises; returns the number of replicas that must
    have a write before it is answered: in mode `replica` the server's own minimum, else 0.

    Raises DurabilityMismatch, saying what to change, for a server that is not set up for the mode,
    and Recovering for a replica, which may become the primary later.
    """
    wrong: list[str] = []
    copies = 0
    replication = await _replication(connection)
    if replication["role"] != "master":
        raise Recovering("this Redis is a replica")
    policy = await _config(connection, "maxmemory-policy")
    if policy != "noeviction":
        wrong.append(f"maxmemory-policy is {policy}: evicting loses stock; set noeviction")
    mode = Durability(settings.durability)
    if mode is not Durability.REPLICA and await _config(connection, "appendonly") != "yes":
        wrong.append("appendonly is off: set appendonly yes")
    may_fail_over = settings.sentinels is not None or int(replication["connected_slaves"]) > 0
    if mode is Durability.FSYNC:
        fsync = await _config(connection, "appendfsync")
        if fsync != "always":
            wrong.append(f"appendfsync is {fsync}: set always, or choose durability relaxed")
        if may_fail_over and not settings.allow_failover_loss:
            wrong.append(
                "a replica may be promoted without the last writes: choose durability replica, "
                "or set allow_failover_loss"
            )
    if mode is Durability.REPLICA or settings.sentinels is not None:
        copies, unsafe = await _failover_bounds(connection)
        wrong += unsafe
    if wrong:
        raise DurabilityMismatch(f"durability {mode.value}: " + "; ".join(wrong))
    return copies if mode is Durability.REPLICA else 0


async def _failover_bounds(connection: ScriptConnection) -> tuple[int, list[str]]:
    """The number of replicas that the server demands for a write, and the settings that would let
    an isolated primary go on writing.
    """
    wrong = []
    copies = int(await _config(connection, "min-replicas-to-write"))
    if copies < 1:
        wrong.append("min-replicas-to-write is 0: set 1, with min-replicas-max-lag 2")
    if int(await _config(connection, "min-replicas-max-lag")) > MIN_REPLICAS_MAX_LAG_SECONDS:
        wrong.append("min-replicas-max-lag is above 2: an isolated primary would go on writing")
    return copies, wrong
