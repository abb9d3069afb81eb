"""A PostgreSQL of a test's own that can be put back to where it was."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from config.stack.postgres import PostgresServer


class Backup:
    """A cold copy of the server's data, as a restore or a standby that lagged would have it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._copy = server.data.with_name("data-before")

    async def take(self) -> None:
        """Copy the data; the server is away meanwhile."""
        await self._server.stop()
        await self.keep()
        await self._server.start()

    async def keep(self) -> None:
        """Copy the data of a server that does not run."""
        await asyncio.to_thread(shutil.rmtree, self._copy, ignore_errors=True)
        await asyncio.to_thread(_copied, self._server.data, self._copy)

    async def restore(self) -> None:
        """Put the copy in place of the data: what was committed since is gone."""
        await self._server.stop()
        await self.put_back()
        await self._server.start()

    async def put_back(self) -> None:
        """Put the copy in place of the data of a server that does not run."""
        await asyncio.to_thread(shutil.rmtree, self._server.data)
        await asyncio.to_thread(_copied, self._copy, self._server.data)


def _copied(source: Path, target: Path) -> None:
    # With its owner, who is another user where the tests run as root.
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
