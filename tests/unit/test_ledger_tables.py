"""The ledger's page names who writes and who reads each table, as the statements do."""

import re
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "ledger.md").read_text(encoding="utf-8")
PROCESSES = ("gateway", "relay", "order writer", "reconciler")
# The first folder that a file is in says whose statements it has; the domain's are everybody's who
# opens sales.
FOLDERS = {
    "gateway/relay": ("relay",),
    "gateway/inventory": ("gateway", "reconciler"),
    "gateway": ("gateway",),
    "order_writer": ("order writer",),
    "reconciler": ("reconciler",),
}

_CREATED = re.compile(r"^CREATE (?:TABLE|VIEW) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"--.*")
_WRITTEN = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")
_READ = re.compile(r"(?<!DELETE )\b(?:FROM|JOIN)\s+(\w+)")
_COPIED = re.compile(r'\b_add\(connection, "(\w+)"')  # the order writer's rows that are only added
_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

Users = dict[str, set[str]]


def tables() -> set[str]:
    migrations = (ROOT / "order_writer" / "sql" / "migrations").glob("*.sql")
    return set(chain.from_iterable(_CREATED.findall(file.read_text()) for file in migrations))


def users(pattern: re.Pattern[str], statements: dict[str, str]) -> Users:
    """The processes whose statements match, by table."""
    found: Users = defaultdict(set)
    for path, text in statements.items():
        owner = next(folder for folder in FOLDERS if path.startswith(f"{folder}/"))
        # `reservations_block_{block}` is a part of the table.
        for table in pattern.findall(_COMMENT.sub("", text).replace("_block_{block}", "")):
            found[table].update(FOLDERS[owner])
    return found


def statements() -> dict[str, str]:
    """Every file of statements of the processes, by its path."""
    files = chain.from_iterable(
        (ROOT / top).rglob("*.sql") for top in {f.split("/")[0] for f in FOLDERS}
    )
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in files
        if "migrations" not in file.parts
    }


def documented(column: int) -> Users:
    """The processes that the page names, by table; 1: writers, 2: readers."""
    return {
        row[0]: {process for process in PROCESSES if process in row[column]}
        for row in _ROW.findall(PAGE)
    }


def test_writers() -> None:
    written = users(_WRITTEN, statements())
    ledger = (ROOT / "order_writer" / "ledger" / "statements.py").read_text(encoding="utf-8")
    copied = set(_COPIED.findall(ledger))
    assert copied == {"ledger_events", "reservations", "order_lines"}
    for table in copied:
        written[table].add("order writer")
    named = documented(1)
    assert {table: named[table] for table in tables()} == {t: written[t] for t in tables()}


def test_readers() -> None:
    read = users(_READ, statements())
    named = documented(2)
    assert {table: named[table] for table in tables()} == {t: read[t] for t in tables()}


@pytest.mark.parametrize(
    ("pattern", "statement"),
    [
        (_READ, "SELECT detail FROM waiting_rooms"),
        (_READ, "SELECT 1 FROM sales s JOIN waiting_rooms USING (sale_id)"),
        (_WRITTEN, "DELETE FROM waiting_rooms WHERE occurred_at < now()"),
    ],
)
def test_a_new_user_is_found(pattern: re.Pattern[str], statement: str) -> None:
    more = {"order_writer/sql/prune.sql": statement}
    assert users(pattern, more)["waiting_rooms"] == {"order writer"}
    assert "order writer" not in users(pattern, statements())["waiting_rooms"]
