"""Ports of this machine on which the benchmarks' own servers listen."""

import asyncio
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A port on which no server listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def listens(port: int) -> bool:
    """Whether a server accepts connections on the port."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
