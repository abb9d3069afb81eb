"""Migrations: once, by one, and never changed afterwards."""

import asyncio

import asyncpg
import pytest

from order_writer.schema import MigrationError, migrate, read_migrations


async def test_migrating_twice_is_migrating_once(empty_postgres_dsn: str) -> None:
    names = [migration.name for migration in read_migrations()]
    assert await migrate(empty_postgres_dsn) == names
    before = await _schema(empty_postgres_dsn)
    assert await migrate(empty_postgres_dsn) == []
    assert await _schema(empty_postgres_dsn) == before


async def test_of_many_at_once_one_does_the_work(empty_postgres_dsn: str) -> None:
    done = await asyncio.gather(*(migrate(empty_postgres_dsn) for _ in range(5)))
    assert sorted(map(len, done)) == [0, 0, 0, 0, len(read_migrations())]


async def test_a_migration_changed_afterwards_is_an_error(postgres_dsn: str) -> None:
    await _execute(postgres_dsn, "UPDATE schema_migrations SET checksum = 'other'")
    with pytest.raises(MigrationError, match="0001_ledger was changed after"):
        await migrate(postgres_dsn)


async def test_a_database_of_a_newer_release_is_an_error(postgres_dsn: str) -> None:
    await _execute(postgres_dsn, "INSERT INTO schema_migrations VALUES (9999, 'later', 'x')")
    with pytest.raises(MigrationError, match="9999"):
        await migrate(postgres_dsn)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _schema(dsn: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, data_type, column_default FROM"
            " information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]
