"""The ledger's schema: numbered migrations, applied in order, once, by one process at a time.

A migration is a file `NNNN_name.sql` in sql/migrations. What has been applied is recorded with the
file's checksum; a file that changed afterwards is an error, because databases would differ. A file
that begins with `-- repeat while: QUERY` moves a part of the rows; it is executed until the query,
which returns a boolean, says that nothing is left.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import asyncpg
import structlog

from config.queries import Queries

_FOLDER = Path(__file__).parent / "sql"
QUERIES = Queries(_FOLDER / "schema.sql")
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_REPEAT = re.compile(r"-- repeat while: (.+)")
_CONNECT_TIMEOUT_SECONDS = 10.0
_PARTS_PER_LINE = 100  # parts of a migration between two lines in the log
_log = structlog.get_logger()


class MigrationError(Exception):
    """The migrations and the database contradict each other; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the folder; `number` is its place in the order, from 1."""

    number: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script, in hexadecimal."""
        return sha256(self.script.encode()).hexdigest()

    @property
    def repeat_while(self) -> str | None:
        """The query of a migration in parts: whether a part is left."""
        match = _REPEAT.match(self.script)
        return match and match[1]


def read_migrations(folder: Path = _FOLDER / "migrations") -> list[Migration]:
    """The migrations in order; raises MigrationError for a bad name or a number out of line."""
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise MigrationError(f"{path.name}: expected number {number:04d} and a plain name")
        migrations.append(Migration(number, path.stem, path.read_text(encoding="utf-8")))
    return migrations


async def migrate(dsn: str) -> list[str]:
    """Bring the database to the newest schema; returns the names of the migrations applied now.

    Safe to call from many processes at once: one works, the others wait for it (at most the lock
    timeout of sql/schema.sql) and find nothing left to do. Each migration is one transaction, or
    one for each of its parts: interrupted, it goes on where it stopped.
    """
    migrations = read_migrations()
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_SECONDS)
    try:
        await connection.execute(QUERIES["lock"])
        await connection.execute(QUERIES["create_record"])
        return await _apply(connection, migrations)
    finally:
        await connection.close()  # which also releases the lock


async def _apply(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    applied = {row["number"]: row for row in await connection.fetch(QUERIES["applied"])}
    unknown = set(applied) - {migration.number for migration in migrations}
    if unknown:
        raise MigrationError(f"the database has migration {min(unknown)}, this release does not")
    for migration in migrations:
        row = applied.get(migration.number)
        if row is not None and row["checksum"] != migration.checksum:
            raise MigrationError(f"{migration.name} was changed after it had been applied")
    done = []
    for migration in migrations[len(applied) :]:
        if migration.repeat_while is not None:
            await _repeat(connection, migration, migration.repeat_while)
        async with connection.transaction():
            if migration.repeat_while is None:
                await connection.execute(migration.script)
            await connection.execute(
                QUERIES["record"], migration.number, migration.name, migration.checksum
            )
        _log.info("migration_applied", migration=migration.name)
        done.append(migration.name)
    return done


async def _repeat(connection: asyncpg.Connection, migration: Migration, is_left: str) -> None:
    parts = 0
    while await connection.fetchval(is_left):
        async with connection.transaction():
            await connection.execute(migration.script)
        parts += 1
        if parts % _PARTS_PER_LINE == 0:
            _log.info("migration_continues", migration=migration.name, parts=parts)
