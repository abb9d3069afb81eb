"""The final accounting of a sale: computed when the sale is settled, stored, then only read.

Constraints on its rows require that stock accounts, events and orders agree; where they do not,
nothing is stored and the sale is not settled.
"""

import csv
import io

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from gateway.api.contract.operator_schemas import AccountingAnswer, AccountingLine
from gateway.api.contract.problems import Problem
from gateway.api.contract.rendering import instant
from gateway.api.contract.schemas import Total
from gateway.api.ledger.queries import QUERIES

CSV = "text/csv; charset=utf-8; header=present"
ACCOUNTING_TIMEOUT_SECONDS = 60.0

_COLUMNS = AccountingLine.__struct_fields__
_LISTS = ("adjustments", "returns")


async def store_accounting(
    connection: PoolConnectionProxy, sale_id: str, settled_by: str
) -> AccountingAnswer:
    """Compute and store the accounting in the caller's transaction, within
    ACCOUNTING_TIMEOUT_SECONDS.

    Raises Problem invalid_state when stock, events and orders in the ledger do not agree.
    """
    await connection.execute(QUERIES["wait_longer"], f"{ACCOUNTING_TIMEOUT_SECONDS:.0f}s")
    await connection.execute(QUERIES["insert_settlement"], sale_id, settled_by)
    try:
        await connection.execute(
            QUERIES["insert_settlement_lines"], sale_id, timeout=ACCOUNTING_TIMEOUT_SECONDS
        )
    except asyncpg.CheckViolationError as error:
        raise Problem(
            "invalid_state",
            "The ledger's stock, events and orders do not agree; examine them first.",
            reason="accounting",
            constraint=error.constraint_name,
        ) from error
    stored = await read_accounting(connection, sale_id)
    if stored is None:
        raise RuntimeError(f"the accounting of {sale_id} was stored but cannot be read")
    return stored


async def read_accounting(connection: PoolConnectionProxy, sale_id: str) -> AccountingAnswer | None:
    """The stored accounting, or None for a sale without one."""
    sale = await connection.fetchrow(QUERIES["settlement"], sale_id)
    if sale is None:
        return None
    lines = tuple(
        _line(row) for row in await connection.fetch(QUERIES["settlement_lines"], sale_id)
    )
    currency = sale["currency"]
    return AccountingAnswer(
        sale_id=sale_id,
        settled_at=instant(sale["settled_at"]),
        settled_by=sale["settled_by"],
        revenue=Total(sum(line.revenue for line in lines), currency),
        refunded=Total(sum(line.refunded for line in lines), currency),
        lines=lines,
    )


def accounting_csv(accounting: AccountingAnswer) -> bytes:
    """One row per SKU and location (RFC 4180); a cell with several reasons is JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("sale_id", *_COLUMNS, "currency"))
    for line in accounting.lines:
        cells = (_cell(getattr(line, name)) for name in _COLUMNS)
        writer.writerow((accounting.sale_id, *cells, accounting.revenue.currency))
    return text.getvalue().encode()


def prefers_csv(accept: str) -> bool:
    """Whether an Accept header names CSV before any JSON."""
    for part in accept.split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in {"text/csv", "application/json"}:
            return media_type == "text/csv"
    return False


def _line(row: asyncpg.Record) -> AccountingLine:
    values = dict(row)
    for name in _LISTS:
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, AccountingLine)


def _cell(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, tuple) else value
