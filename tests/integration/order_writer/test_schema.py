"""Migrations run once, in one process, and never change afterwards."""

import asyncio

import asyncpg
import msgspec
import pytest

from config.settings import Settings
from gateway.process.audit import AuditAction
from order_writer.schema import QUERIES, MigrationError, migrate, read_migrations
from tests.support.sales.history import open_rig

PARTITIONED = next(m.number for m in read_migrations() if m.name.endswith("partitions_by_sale"))
# What an earlier release had written: a resolved order with a void number beside it, and a hold.
LEDGER_OF_TWO_SALES = """
INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key)
VALUES ('first', 'open', '{}', 1, 'EUR', sha256('a')),
       ('second', 'open', '{}', 1, 'EUR', sha256('b'));
INSERT INTO watermarks (sale_id, partition, epoch, sequence)
VALUES ('first', 0, 1, 3), ('second', 0, 1, 1);
INSERT INTO reservations
VALUES ('first.0.ann', 'first', 0, 'ann', 'cancelled', 'f', now(), 0, NULL, 1, 1, 1, 2, now(),
        now()),
       ('second.0.bob', 'second', 0, 'bob', 'held', 'f', now(), 0, NULL, 1, 4, 1, 4, now(), now());
INSERT INTO order_lines VALUES ('first.0.ann', 'shoe', 'default', 2, 0, 0, 100),
                               ('second.0.bob', 'shoe', 'default', 1, 0, 0, 100);
INSERT INTO ledger_events VALUES
    ('first', 0, 1, 1, 'reserve', 'first.0.ann', now(), '\\x01', '{"lines": []}'),
    ('first', 0, 1, 2, 'cancel', 'first.0.ann', now(), '\\x02', '{"actor": "ann"}'),
    ('first', 0, 1, 3, 'void', NULL, now(), '\\x03', '{}'),
    ('second', 0, 1, 4, 'reserve', 'second.0.bob', now(), '\\x04', '{"lines": []}');
"""
KEPT = (
    (
        "SELECT reservation_id, sale_id, partition, buyer_id, state, deadline, accepted_epoch,"
        " accepted_sequence, last_epoch, last_sequence, created_at, updated_at, admission"
        " FROM reservations ORDER BY reservation_id"
    ),
    (
        "SELECT reservation_id, sku, location, quantity, confirmed, returned, unit_price"
        " FROM order_lines ORDER BY reservation_id"
    ),
    (
        "SELECT sale_id, partition, epoch, sequence, type, reservation_id, fingerprint,"
        " payload::text FROM ledger_events ORDER BY sequence"
    ),
    "SELECT sale_id, partition, epoch, sequence FROM watermarks ORDER BY sale_id",
)


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


async def test_what_was_in_the_ledger_is_there_after_it_is_partitioned(
    empty_postgres_dsn: str,
) -> None:
    before = [migration for migration in read_migrations() if migration.number < PARTITIONED]
    ledger = await asyncpg.connect(empty_postgres_dsn)
    try:
        for migration in before:
            await ledger.execute(migration.script)
        await ledger.execute(LEDGER_OF_TWO_SALES)
        kept = {query: await ledger.fetch(query) for query in KEPT}
        assert all(kept.values())
        await ledger.execute(read_migrations()[PARTITIONED - 1].script)
        for query, rows in kept.items():
            assert await ledger.fetch(query) == rows, query
        statuses = await ledger.fetch("SELECT status, detail FROM order_events ORDER BY sequence")
        assert [(row["status"], msgspec.json.decode(row["detail"])) for row in statuses] == [
            ("PENDING", {}), ("CANCELLED", {"actor": "ann"}), ("PENDING", {}),
        ]  # fmt: skip
        held_where = await ledger.fetchval(
            "SELECT tableoid::regclass::text FROM order_lines WHERE sale_id = 'second'"
        )
        assert held_where == "order_lines_2"
    finally:
        await ledger.close()


async def test_actions_in_the_audit_log_get_one_spelling(empty_postgres_dsn: str) -> None:
    renaming = next(m for m in read_migrations() if m.name.endswith("audit_actions"))
    ledger = await asyncpg.connect(empty_postgres_dsn)
    try:
        for migration in read_migrations():
            if migration.number < renaming.number:
                await ledger.execute(migration.script)
        written = ("sale.open", "sale.close", "sale_open", "sale_settled", "queue_rate")
        await ledger.executemany(
            "INSERT INTO audit_log (actor, action) VALUES ('anybody', $1)",
            [(action,) for action in written],
        )
        await ledger.execute(renaming.script)
        rows = await ledger.fetch("SELECT action FROM audit_log ORDER BY audit_id")
        renamed = [AuditAction(row["action"]) for row in rows]
        assert renamed == ["sale_open", "sale_close", "sale_open", "sale_settled", "queue_rate"]
    finally:
        await ledger.close()


async def test_sales_move_into_blocks_one_by_one(empty_postgres_dsn: str) -> None:
    ledger = await asyncpg.connect(empty_postgres_dsn)
    try:
        await _migrate_before_blocks(ledger)
        # The first sale's lines are archived: they stay where they are.
        archived = "order_lines_1"
        await ledger.execute(f"ALTER TABLE order_lines DETACH PARTITION {archived}")
        kept = {query: await ledger.fetch(query) for query in KEPT}
        assert [len(rows) for rows in kept.values()] == [2, 1, 4, 2]
        names = await migrate(empty_postgres_dsn)
        assert names[:2] == ["0014_blocks_of_sales", "0015_sales_into_blocks"]
        for query, rows in kept.items():
            assert await ledger.fetch(query) == rows, query
        tables = await ledger.fetch(
            "SELECT DISTINCT tableoid::regclass::text AS name FROM ledger_events"
        )
        assert [row["name"] for row in tables] == ["ledger_events_block_0"]
        assert await ledger.fetchval(f"SELECT count(*) FROM {archived}") == 1  # noqa: S608
        assert await ledger.fetchval("SELECT to_regclass('reservations_2')") is None
    finally:
        await ledger.close()


async def test_a_sale_moves_whatever_its_tables_are_called(empty_postgres_dsn: str) -> None:
    ledger = await asyncpg.connect(empty_postgres_dsn)
    try:
        await _migrate_before_blocks(ledger)
        kept = {query: await ledger.fetch(query) for query in KEPT}
        for table in ("order_lines", "reservations", "ledger_events"):
            await ledger.execute(f"ALTER TABLE {table}_1 RENAME TO {table}_restored")
        await migrate(empty_postgres_dsn)
        for query, rows in kept.items():
            assert await ledger.fetch(query) == rows, query
    finally:
        await ledger.close()


async def test_a_block_of_settled_sales_is_archived_by_detaching_it(settings: Settings) -> None:
    async with open_rig(settings) as rig:
        (settled,) = await rig.open_sale("settled")
        await rig.ledger.execute("ALTER TABLE sales ALTER ledger_number RESTART WITH 1000")
        (other,) = await rig.open_sale("other")
        for history in (settled, other):
            history.load()
            history.reserve("ann")
        await rig.writer.apply(settled.entries + other.entries)
        block = await rig.ledger.fetchval(
            "UPDATE sales SET state = 'settled' WHERE sale_id = 'settled' RETURNING block"
        )
        for table in ("order_lines", "reservations", "ledger_events"):
            own = f"{table}_block_{block}"
            await rig.ledger.execute(f"ALTER TABLE {table} DETACH PARTITION {own} CONCURRENTLY")
            assert await rig.ledger.fetchval(f"SELECT count(*) FROM {own}") > 0  # noqa: S608
            await rig.ledger.execute(f"DROP TABLE {own}")
        assert await rig.state_of(settled, "ann") is None
        await rig.writer.apply(settled.entries)  # the log may still be replayed
        assert await rig.stopped(settled) is None
        other.confirm("ann")
        await rig.writer.apply(other.entries)
        assert await rig.state_of(other, "ann") == "confirmed"


async def test_of_many_sales_that_need_a_block_one_makes_it(settings: Settings) -> None:
    dsn = settings.postgres.dsn
    await _execute(dsn, "ALTER TABLE sales ALTER ledger_number RESTART WITH 3000")
    sale = (
        "INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key)"
        " VALUES ('sale-{}', 'draft', '{{}}', 1, 'EUR', sha256('k'))"
    )
    await asyncio.gather(*(_execute(dsn, sale.format(number)) for number in range(5)))
    ledger = await asyncpg.connect(dsn)
    try:
        blocks = await ledger.fetch("SELECT DISTINCT block FROM sales")
        assert [row["block"] for row in blocks] == [3]
        assert await ledger.fetchval("SELECT to_regclass('order_lines_block_3')") is not None
    finally:
        await ledger.close()


async def test_opening_a_sale_makes_no_table(settings: Settings) -> None:
    async with open_rig(settings) as rig:
        await rig.open_sale("first")
        tables = "SELECT count(*) FROM pg_class"
        before = await rig.ledger.fetchval(tables)
        await rig.open_sale("second")
        assert await rig.ledger.fetchval(tables) == before


async def test_a_sale_is_opened_while_another_ones_rows_are_read_and_written(
    settings: Settings,
) -> None:
    async with open_rig(settings) as rig:
        (first,) = await rig.open_sale("first")
        first.load()
        first.reserve("ann")
        await rig.writer.apply(first.entries)
        busy = await asyncpg.connect(settings.postgres.dsn)
        try:
            async with busy.transaction():
                await busy.execute("UPDATE reservations SET extended_ms = 1")
                await rig.ledger.execute("SET lock_timeout = '1s'")
                await rig.open_sale("second")
        finally:
            await busy.close()


@pytest.mark.parametrize(
    ("constraint", "statement"),
    [
        ("order_line_of_reservation", ("INSERT INTO order_lines VALUES"
         " ('sale.0.nobody', 'sale', 'shoe', 'default', 1, 0, 0, 100, 0)")),
        ("order_line_immutable", "UPDATE order_lines SET unit_price = 1"),
        ("order_line_immutable", "UPDATE order_lines SET quantity = 9"),
        (None, "DELETE FROM reservations"),
        (None, "DELETE FROM ledger_events"),
        (None, "UPDATE ledger_events SET payload = '{}'"),
    ],
)  # fmt: skip
async def test_history_only_grows(
    settings: Settings, constraint: str | None, statement: str
) -> None:
    async with open_rig(settings) as rig:
        (history,) = await rig.open_sale("sale")
        history.load()
        history.reserve("ann")
        await rig.writer.apply(history.entries)
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
            await rig.ledger.execute(statement)
        assert refusal.value.constraint_name == constraint


async def _migrate_before_blocks(ledger: asyncpg.Connection) -> None:
    """Two sales with their rows in the last schema that had a table for each sale."""
    blocks = next(m.number for m in read_migrations() if m.name.endswith("blocks_of_sales"))
    await ledger.execute(QUERIES["create_record"])
    for migration in read_migrations()[: blocks - 1]:
        if migration.number == PARTITIONED:
            await ledger.execute(LEDGER_OF_TWO_SALES)
        await ledger.execute(migration.script)
        await ledger.execute(
            QUERIES["record"], migration.number, migration.name, migration.checksum
        )


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
