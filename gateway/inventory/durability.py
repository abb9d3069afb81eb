"""What an answer is worth when a server dies, and the proof that Redis is set up for it.

========  =====================================================  =================================
mode      before the answer                                      what a crash may lose
========  =====================================================  =================================
fsync     on this server's disk (`appendfsync always`)           nothing, while its disk lives
replica   held by at least one replica (WAIT, count checked)     nothing, while one of two lives
relaxed   in this server's memory                                up to some seconds of answers
========  =====================================================  =================================
"""

from enum import StrEnum

from config.settings import RedisSettings
from gateway.inventory.connection import ScriptConnection
from gateway.inventory.errors import InventoryError, Recovering


class Durability(StrEnum):
    """The modes of the table above."""

    FSYNC = "fsync"
    REPLICA = "replica"
    RELAXED = "relaxed"


class DurabilityMismatch(InventoryError):
    """The server keeps less than the configured mode promises."""

    retriable = False


async def _config(connection: ScriptConnection, name: str) -> str:
    reply = await connection.send("CONFIG", "GET", name)
    if not isinstance(reply, list) or len(reply) != 2:
        message = f"Redis does not tell its {name}: {reply!r}"
        raise Recovering(message)
    return bytes(reply[1]).decode()


async def _replicas(connection: ScriptConnection) -> int:
    reply = await connection.send("INFO", "replication")
    if isinstance(reply, bytes):
        for line in reply.splitlines():
            if line.startswith(b"connected_slaves:"):
                return int(line.removeprefix(b"connected_slaves:"))
    message = f"Redis does not tell its replicas: {reply!r}"
    raise Recovering(message)


async def verify_server(connection: ScriptConnection, settings: RedisSettings) -> None:
    """Raise DurabilityMismatch, saying what to change, unless the server is set up for the mode."""
    wrong: list[str] = []
    policy = await _config(connection, "maxmemory-policy")
    if policy != "noeviction":
        wrong.append(f"maxmemory-policy is {policy}: evicting loses stock; set noeviction")
    mode = Durability(settings.durability)
    if mode is not Durability.REPLICA and await _config(connection, "appendonly") != "yes":
        wrong.append("appendonly is off: set appendonly yes")
    fsync = await _config(connection, "appendfsync")
    if mode is Durability.FSYNC:
        if fsync != "always":
            wrong.append(f"appendfsync is {fsync}: set always, or choose durability relaxed")
        if await _replicas(connection) > 0 and not settings.allow_failover_loss:
            wrong.append(
                "replicas are connected and may be promoted without the last writes: choose "
                "durability replica, or set allow_failover_loss"
            )
    if mode is Durability.REPLICA:
        if int(await _config(connection, "min-replicas-to-write")) < 1:
            wrong.append("min-replicas-to-write is 0: set 1, with min-replicas-max-lag 2")
        if int(await _config(connection, "min-replicas-max-lag")) > 2:
            wrong.append("min-replicas-max-lag is above 2: an isolated primary would write on")
    if wrong:
        message = f"durability {mode.value}: " + "; ".join(wrong)
        raise DurabilityMismatch(message)
