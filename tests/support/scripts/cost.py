"""What a script call costs Redis, counted in operations: no clock is asked."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import redis

from tests.support.scripts.state import run

# The replies of these commands are counted in bytes.
_READS = {b"HGET", b"HMGET"}
_END = b"end of the call"
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Cost:
    """Commands that the scripts ran, their arguments, and the bytes that they read of hashes."""

    commands: int
    arguments: int
    bytes_read: int


def cost_of(client: redis.Redis, call: Callable[[], object]) -> Cost:
    """The cost of all scripts that run in `call`, as MONITOR shows it."""
    commands: list[list[bytes]] = []
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        call()
        run(client, "ECHO", _END)
        # redis-py's own reading joins the arguments by spaces, which binary values have too.
        while not (line := bytes(monitor.connection.read_response())).endswith(_END + b'"'):
            if b" lua] " in line:
                commands.append(_ARGUMENT.findall(line))
    reads = [command for command in commands if command[0].upper() in _READS]
    replies = [run(client, *command) for command in reads]
    values = [v for reply in replies for v in (reply if isinstance(reply, list) else [reply])]
    return Cost(len(commands), sum(map(len, commands)), sum(len(value or b"") for value in values))
