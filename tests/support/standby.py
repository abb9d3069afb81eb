"""A PostgreSQL primary with a streaming standby on loopback, and how the standby takes over.

Clients reach the primary through the proxy `way`, whose port stays when the standby is promoted.
The standby follows through the proxy `replication`: holding its replies back makes the standby lag,
and whatever it has not received then is missing after the promotion.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from config.stack.postgres import INITDB_TIMEOUT_SECONDS, USER, PostgresServer
from config.stack.process import StackError
from config.stack.server import HOST
from tests.support.network.proxy import FaultyProxy
from tests.support.waiting import wait_until

STANDBY = "standby"  # the application_name by which a primary knows its standby
FOLLOWERS = "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = $1"
# Administration of a server: it must neither end by itself nor wait for a standby.
UNBOUNDED = {"statement_timeout": "0", "lock_timeout": "0", "synchronous_commit": "local"}


class StandbyServer(PostgresServer):
    """A PostgreSQL whose data begin as a copy of a running primary, which it then follows.

    The data folder alone says whether it follows or leads, so a restart changes nothing: a
    promoted standby stays the primary.
    """

    def __init__(self, folder: Path, primary: PostgresServer, way_port: int, port: int = 0) -> None:
        """`way_port`: where the standby reaches the primary, at first and whenever it follows."""
        super().__init__(folder, port)
        self.primary = primary
        self.way_port = way_port

    async def prepare(self) -> None:
        """Copy the primary, which must serve, unless there are data already."""
        if not (self.data / "PG_VERSION").exists():
            await copy_primary(self, self.primary, self.way_port)
        await super().prepare()


async def copy_primary(target: PostgresServer, primary: PostgresServer, way_port: int) -> None:
    """Replace the data of `target`, which must not run, by a standby's copy of the primary.

    Raises `StackError` with what `pg_basebackup` said.
    """
    target.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(primary.folder / "password", target.folder / "password")
    await asyncio.to_thread(_copy, target, primary, way_port)


def _copy(target: PostgresServer, primary: PostgresServer, way_port: int) -> None:
    # The folder itself stays: orphans of a killed postmaster are found by it.
    target.data.mkdir(mode=0o700, exist_ok=True)
    for entry in target.data.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    owner = primary.data.stat()
    if os.geteuid() == 0:
        os.chown(target.data, owner.st_uid, owner.st_gid)
    address = f"host={HOST} port={way_port} user={USER} application_name={STANDBY}"
    command = [
        *(str(primary.binaries / "pg_basebackup"), "-D", str(target.data), "-d", address),
        *("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-password"),
    ]
    is_root = os.geteuid() == 0
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": (primary.folder / "password").read_text().strip()},
            user=owner.st_uid if is_root else None,
            group=owner.st_gid if is_root else None,
            extra_groups=[] if is_root else None,
            cwd=target.data,
            timeout=INITDB_TIMEOUT_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise StackError(f"pg_basebackup to {target.data} failed: {error.stderr}") from error


def at_port(dsn: str, port: int) -> str:
    """The same address on another port, such as a proxy's."""
    front, _, database = dsn.rpartition("/")
    return f"{front.rpartition(':')[0]}:{port}/{database}"


@asynccontextmanager
async def administering(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the server itself, past every proxy, as soon as the server serves."""
    await wait_until(server.ready, f"{server.data} serves")
    connection = await asyncpg.connect(server.dsn_of("postgres"), server_settings=UNBOUNDED)
    try:
        yield connection
    finally:
        await connection.close()


async def demand_standby(primary: PostgresServer) -> None:
    """From now on a commit is answered only when the standby has it on disk; waits for that."""
    await _name_standby(primary, STANDBY)
    await wait_until(lambda: is_followed(primary, "sync"), "the standby is synchronous")


async def spare_standby(primary: PostgresServer) -> None:
    """From now on commits wait for no standby; waits for that."""
    await _name_standby(primary, "")
    await wait_until(lambda: is_followed(primary, "async"), "the standby is asynchronous")


async def _name_standby(primary: PostgresServer, name: str) -> None:
    async with administering(primary) as connection:
        await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        await connection.execute("SELECT pg_reload_conf()")


async def is_followed(primary: PostgresServer, sync_state: str = "") -> bool:
    """Whether a standby streams from this primary, in this `sync_state` where one is given."""
    async with administering(primary) as connection:
        rows = await connection.fetch(FOLLOWERS, STANDBY)
    found = {row["sync_state"] for row in rows if row["state"] == "streaming"}
    return sync_state in found if sync_state else bool(found)


async def caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until the standby shows everything that the primary has written so far."""
    async with administering(primary) as leading:
        written = await leading.fetchval("SELECT pg_current_wal_lsn()")

    async def is_shown() -> bool:
        async with administering(standby) as following:
            statement = "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn"
            return bool(await following.fetchval(statement, written))

    await wait_until(is_shown, "the standby has caught up")


async def promote(standby: PostgresServer) -> None:
    """Make the standby a primary; it keeps what it has received, and nothing more arrives."""
    async with administering(standby) as connection:
        assert await connection.fetchval("SELECT pg_promote(wait => true, wait_seconds => 180)")


@dataclass
class PostgresPair:
    """See the module. `leader` is who serves; `follower` is None after a failover."""

    leader: PostgresServer
    follower: PostgresServer | None
    way: FaultyProxy
    replication: FaultyProxy

    def dsn_of(self, database: str) -> str:
        """The address of a database of whoever serves; the address stays at a failover."""
        return at_port(self.leader.dsn_of(database), self.way.port)

    def lag(self) -> None:
        """From now on the standby receives nothing more; its primary goes on hearing from it."""
        self.replication.hold_replies()

    async def fail_over(self) -> None:
        """Kill the primary, promote the standby as it is, and lead the clients there."""
        self.leader.kill()
        await self.take_over()

    async def take_over(self) -> None:
        """Promote the standby of a primary that was killed, and lead the clients there."""
        assert self.follower is not None, "the standby has taken over already"
        self.way.refuse()
        self.replication.refuse()  # what is on its way to the standby is lost with the primary
        await promote(self.follower)
        self.leader, self.follower = self.follower, None
        for proxy in (self.way, self.replication):
            proxy.pass_replies()
            proxy.forward_to(self.leader.port)
            proxy.accept()

    async def follow_with(self, lost: PostgresServer) -> None:
        """Make a standby of the killed primary's data folder; who starts it gets the follower."""
        await lost.between_tries()  # backends that outlived their postmaster write there
        await copy_primary(lost, self.leader, self.replication.port)
        self.follower = lost

    async def complete(self) -> None:
        """Wait until the standby has everything, and let each commit wait for it from now on."""
        assert self.follower is not None, "nobody follows"
        await wait_until(lambda: is_followed(self.leader), "the standby follows")
        await demand_standby(self.leader)
        await caught_up(self.leader, self.follower)


@asynccontextmanager
async def postgres_pair(folder: Path, *, synchronous: bool) -> AsyncIterator[PostgresPair]:
    """A primary and a standby that streams from it; `synchronous`: commits wait for the standby."""
    primary = PostgresServer(folder / "postgres")
    async with FaultyProxy(primary.port) as way, FaultyProxy(primary.port) as replication:
        standby = StandbyServer(folder / "postgres-standby", primary, replication.port)
        pair = PostgresPair(primary, standby, way, replication)
        try:
            for server in (primary, standby):
                await server.start()
            await wait_until(lambda: is_followed(primary), "the standby follows")
            if synchronous:
                await pair.complete()
            yield pair
        finally:
            for server in (standby, primary):
                await server.stop()
