"""A few script connections to one Redis, kept open; a script call runs on one of them.

Errors of a call: Recovering - nothing was written; UnknownOutcome - the call may have been
executed, repeat it with its id; Overloaded - nothing was sent; ScriptFailure - a defect.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import hiredis
import structlog

from config.settings import RedisSettings
from config.waiting import Backoff
from gateway.inventory.errors import InventoryError, Overloaded, Recovering, UnknownOutcome
from gateway.inventory.keys import sync_key
from gateway.inventory.redis.connection import ScriptConnection, open_connection
from gateway.inventory.redis.durability import Durability, verify_server
from gateway.inventory.redis.primary import LOOK_SECONDS, Primary
from gateway.inventory.redis.replica_wait import Command, ReplicaWait
from lua.loader import Script

_log = structlog.get_logger()
Result = TypeVar("Result")

# Codes of a server that is not able to serve for now; every other error is a defect.
_REFUSED_BY_SERVER = frozenset(
    {"LOADING", "READONLY", "BUSY", "MASTERDOWN", "NOREPLICAS", "MISCONF"}
)
# Redis 6.2 reports the error of a command as one of the script: `ERR Error running script (call to
# f_…): @user_script:3: @user_script: 3: -OOM command not allowed …`. Later versions report `OOM …`.
_RAISED_IN_SCRIPT = re.compile(r"^ERR Error running script .*@user_script: \d+: -([A-Z]+) ")

RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_MOST_SECONDS = 1.0


class MisroutedReply(Exception):
    """A reply that its caller does not recognise; raised by the `decode` of `ScriptPool.call`."""


class ScriptPool:
    """Runs scripts. `start` tries each connection once; after that they reconnect in background."""

    def __init__(self, settings: RedisSettings, scripts: Mapping[str, Script]) -> None:
        """`scripts` by name; the pool opens `settings.connections` connections."""
        self._settings = settings
        self._primary = Primary(settings)
        self._durability = Durability(settings.durability)
        self._scripts = scripts
        self._connections: list[ScriptConnection | None] = [None] * settings.connections
        self._tasks: list[asyncio.Task[None]] = []
        # In durability `replica`: the wait for replicas of each connection.
        self._waiting: dict[ScriptConnection, ReplicaWait] = {}
        self.misrouted_replies = 0

    @property
    def durability(self) -> str:
        """The durability mode of every answer of this pool."""
        return self._durability.value

    @property
    def connected(self) -> bool:
        """Whether at least one connection can take calls."""
        return any(connection and connection.usable for connection in self._connections)

    async def start(self) -> None:
        """Open the connections. Raises DurabilityMismatch when Redis keeps less than promised.

        An unreachable server raises no error: the pool goes on trying in the background.
        """
        for index in range(len(self._connections)):
            try:
                self._connections[index] = await self._open()
            except (OSError, TimeoutError, Recovering, UnknownOutcome) as error:
                _log.warning("redis_unreachable", error=str(error) or type(error).__name__)
            self._tasks.append(asyncio.create_task(self._keep(index)))

    async def stop(self) -> None:
        """Close every connection; calls under way raise UnknownOutcome."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            if connection is not None:
                connection.close()

    async def call(
        self,
        name: str,
        keys: tuple[bytes, ...],
        *arguments: bytes,
        decode: Callable[[bytes], Result],
        run_id: str | None = None,
    ) -> Result:
        """Run one script with the server's run id and `arguments` as ARGV; returns `decode`'s
        value.

        `run_id`: run only on a connection to this run of the server, else raise Recovering. The
        wait is bounded by the connection's reply timeout. On NOSCRIPT the script is loaded and run
        again.
        """
        connection = self._pick(run_id)
        script = self._scripts[name]
        command: Command = (
            b"EVALSHA", script.sha, len(keys), *keys, connection.run_id, *arguments,
        )  # fmt: skip
        reply = await self._run(connection, command, keys)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            await connection.send("SCRIPT", "LOAD", script.source)
            reply = await self._run(connection, command, keys)
        if isinstance(reply, bytes):
            try:
                return decode(reply)
            except MisroutedReply as error:
                self.misrouted_replies += 1
                _log.error("misrouted_reply", script=name, error=str(error))
                connection.drop("a reply did not belong to its caller")
                raise UnknownOutcome(str(error)) from error
        raise _refusal(name, reply)

    async def read(self, commands: bytes, count: int) -> tuple[str, list[object]]:
        """Send `count` commands that only read, in the protocol's bytes, on one connection.

        Returns the run of the server and the replies, error replies among them. Raises Recovering,
        or UnknownOutcome where the connection breaks.
        """
        connection = self._pick(None)
        slots = connection.send_packed(commands, count)
        await slots[-1]  # replies come in order
        return connection.run_id.decode(), [slot.result() for slot in slots]

    async def _run(
        self, connection: ScriptConnection, command: Command,
        keys: tuple[bytes, ...],
    ) -> object:  # fmt: skip
        if self._durability is not Durability.REPLICA:
            return await connection.send(*command)
        waiting = self._waiting.get(connection)
        if waiting is None:
            raise Recovering("the connection to Redis is closed")
        return await waiting.send(command, sync_key(keys))

    def _pick(self, run_id: str | None) -> ScriptConnection:
        usable = [c for c in self._connections if c is not None and c.usable]
        if not usable:
            raise Recovering("no connection to Redis")
        if run_id is not None:
            usable = [c for c in usable if c.run_id == run_id.encode()]
        if not usable:
            raise Recovering(f"no connection to the run {run_id} of Redis")
        return min(usable, key=_load)

    async def _open(self) -> ScriptConnection:
        connection = await open_connection(
            await self._primary.locate(),
            connect_timeout_seconds=self._settings.connect_timeout_seconds,
            reply_timeout_seconds=self._settings.socket_timeout_seconds,
        )
        try:
            copies = await verify_server(connection, self._settings)
        except InventoryError:
            connection.drop("the server is not as configured")
            raise
        if copies:
            wait_seconds = self._settings.replica_wait_seconds
            self._waiting[connection] = ReplicaWait(connection, copies, wait_seconds)
        return connection

    async def _keep(self, index: int) -> None:
        """Re-open connection `index` whenever it breaks, until cancelled."""
        backoff = Backoff(RECONNECT_FIRST_SECONDS, RECONNECT_MOST_SECONDS)
        while True:
            connection = self._connections[index]
            if connection is not None:
                await self._end_of(connection)
                self._connections[index] = None
                self._waiting.pop(connection, None)
                backoff.reset()
            try:
                self._connections[index] = await self._open()
            except (OSError, TimeoutError, InventoryError) as error:
                _log.warning("redis_unreachable", error=str(error) or type(error).__name__)
                await backoff.pause()

    async def _end_of(self, connection: ScriptConnection) -> None:
        """Return when the connection is closed, also after closing it to a replaced primary."""
        while not connection.closed.done():
            address = connection.address
            await asyncio.wait(
                (connection.closed,), timeout=LOOK_SECONDS if self._primary.may_move else None
            )
            if connection.usable and self._primary.has_left(address.host, address.port):
                connection.drop("Redis was replaced as the primary")


def _load(connection: ScriptConnection) -> int:
    return connection.in_flight


def _refusal(script: str, reply: object) -> InventoryError:
    """The error that an error reply means. Scripts write their event first, so a server that
    refuses the first write (memory, disk, replicas, loading) has changed nothing.
    """
    text = str(reply)
    raised = _RAISED_IN_SCRIPT.search(text)
    code = raised.group(1) if raised else text.partition(" ")[0]
    if code == "OOM":
        return Overloaded(text)
    if code not in _REFUSED_BY_SERVER:
        _log.error("script_failed", script=script, error=text)
    return Recovering(text)
