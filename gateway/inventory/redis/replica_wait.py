"""Durability `replica`: the calls of one connection are confirmed by replicas in groups.

WAIT blocks its connection until the replicas have everything sent before it. So calls that come
while a WAIT is under way gather, and go out together with the next WAIT. A call thus waits for two
WAITs at most, however many calls there are, also when no replica answers any more.
"""

import asyncio

import hiredis

from gateway.inventory.errors import UnknownOutcome
from gateway.inventory.redis.connection import ScriptConnection

Command = tuple[bytes | str | int, ...]

SYNC_KEY_SECONDS = 3600


class _Group:
    """Calls that go out together, followed by one WAIT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.commands: list[Command] = []
        self.sync_key = b""
        # The replies of the commands, once enough replicas have the whole group.
        self.confirmed: asyncio.Future[list[asyncio.Future[object]]] = loop.create_future()


class ReplicaWait:
    """Groups the calls of one connection."""

    def __init__(self, connection: ScriptConnection, copies: int, wait_seconds: float) -> None:
        """`copies`: replicas that must have a call's write; `wait_seconds`: bound of one WAIT."""
        self._connection = connection
        self._copies = copies
        self._wait_milliseconds = round(wait_seconds * 1000)
        self._gathering: _Group | None = None
        self._sender: asyncio.Task[None] | None = None

    async def send(self, command: Command, sync_key: bytes) -> object:
        """The reply, once the replicas have what the command wrote.

        Raises UnknownOutcome when too few replicas confirm in time or the connection breaks,
        Recovering when nothing was sent.
        """
        loop = asyncio.get_running_loop()
        group = self._gathering
        if group is None:
            group = self._gathering = _Group(loop)
            # A call without a write would not wait: writing the key makes WAIT cover this call.
            group.sync_key = sync_key
        place = len(group.commands)
        group.commands.append(command)
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send_groups())
        replies = await asyncio.shield(group.confirmed)
        return await replies[place]

    async def _send_groups(self) -> None:
        while (group := self._gathering) is not None:
            self._gathering = None
            try:
                group.confirmed.set_result(await self._confirm(group))
            except Exception as error:  # noqa: BLE001 - raised in every caller of the group
                group.confirmed.set_exception(error)
                group.confirmed.exception()  # retrieved, since callers may have given up

    async def _confirm(self, group: _Group) -> list[asyncio.Future[object]]:
        send = self._connection.send
        replies = [send(*command) for command in group.commands]
        marked = send("SET", group.sync_key, 1, "EX", SYNC_KEY_SECONDS)
        copies = await send("WAIT", self._copies, self._wait_milliseconds)
        if isinstance(refused := await marked, hiredis.ReplyError):
            raise UnknownOutcome(f"the primary refused the write to wait for: {refused}")
        if not isinstance(copies, int) or copies < self._copies:
            raise UnknownOutcome(f"{copies} of {self._copies} replicas confirmed the write")
        return replies
