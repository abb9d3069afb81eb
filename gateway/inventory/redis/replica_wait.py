"""Durability `replica`: calls of one connection are confirmed by replicas in groups.

WAIT blocks its connection until they have everything sent before it. So while one WAIT is under
way, the calls that come gather, and go out together with the next one. A call thus waits for two
WAITs at most, however many calls there are, also when no replica answers any more.
"""

import asyncio

import hiredis

from gateway.inventory.errors import UnknownOutcome
from gateway.inventory.redis.connection import ScriptConnection

Command = tuple[bytes | str | int, ...]

SYNC_KEY_SECONDS = 3600


class _Group:
    """Calls that go out together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.commands: list[Command] = []
        self.sync_key = b""
        # How many replicas have all of it, with the replies to the commands.
        self.confirmed: asyncio.Future[list[asyncio.Future[object]]] = loop.create_future()


class ReplicaWait:
    """See the module. One for each connection."""

    def __init__(self, connection: ScriptConnection, copies: int, wait_seconds: float) -> None:
        """`copies`: how many replicas must have a call; `wait_seconds`: bound on one WAIT."""
        self._connection = connection
        self._copies = copies
        self._wait_milliseconds = round(wait_seconds * 1000)
        self._gathering: _Group | None = None
        self._sender: asyncio.Task[None] | None = None

    async def send(self, command: Command, sync_key: bytes) -> object:
        """The reply, once the replicas have what the command wrote.

        Raises UnknownOutcome where too few say so in time or the connection breaks, Recovering
        where nothing was sent.
        """
        loop = asyncio.get_running_loop()
        group = self._gathering
        if group is None:
            group = self._gathering = _Group(loop)
            # A call that wrote nothing would wait for nothing: the key makes WAIT mean this one.
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
            except Exception as error:  # noqa: BLE001 - it is every caller's of the group
                group.confirmed.set_exception(error)
                group.confirmed.exception()  # callers that gave up will not look

    async def _confirm(self, group: _Group) -> list[asyncio.Future[object]]:
        send = self._connection.send
        replies = [send(*command) for command in group.commands]
        marked = send("SET", group.sync_key, 1, "EX", SYNC_KEY_SECONDS)
        copies = await send("WAIT", self._copies, self._wait_milliseconds)
        if isinstance(refused := await marked, hiredis.ReplyError):
            raise UnknownOutcome(f"the primary takes no write to wait for: {refused}")
        if not isinstance(copies, int) or copies < self._copies:
            raise UnknownOutcome(f"{copies} of {self._copies} replicas confirmed the write")
        return replies
