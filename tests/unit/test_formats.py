"""What docs/how-to/change_formats.md says of processes of two releases that share one history."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from gateway.inventory.events import Event, decode_event
from gateway.inventory.keys import keyed_token
from gateway.inventory.specs import SaleSpec
from gateway.inventory.types import ExtendedRecord, Reservation, StoredRecord
from loadtest.verdict import partition_view
from order_writer.folding.fold import Fold
from order_writer.schema import read_migrations
from tests.support.scripts import state

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    body["type"]: body
    for block in re.findall(
        r"^```json\n(.*?)^```",
        (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    for body in [json.loads(block)]
}
# Fields that came after the first release, by the type that has them.
LATER = {
    "load": (
        "waiting_room", "unpaid_per_buyer", "cooldown_after", "cooldown_ms", "cooldown_max_ms",
        "unpaid_window_ms",
    ),
    "reserve": ("admission",),
    "extend": ("extend_key", "asked_ms"),
    "adjust": ("adjust_key", "fingerprint"),
}  # fmt: skip
HELD = (1, 1, 3, 1, 3, 1795265123758, 0, "ann", "Zm9vYmFyYmF", (1, 2))
PAID = (2, 1, 4, *HELD[3:], "pay-1")
RETURNED = (*PAID, (1, 1), ("key:body",))
EXTENDED = (*HELD, "", (), (), ("key:1000",))
SPEC = {"items": [{"sku": "tee", "price": {"amount": 1, "currency": "EUR"}, "stock": 1}]}

# What processes of the release before may not survive while they run.
_BREAKING = re.compile(
    r"\bDROP\b|\bRENAME\b|\bSET SCHEMA\b|\bSET NOT NULL\b|\bADD (?:CONSTRAINT|CHECK)\b"
    r"|\bALTER COLUMN \w+ (?:SET DATA )?TYPE\b"
    r"|\bADD COLUMN [^;]*\bNOT NULL\b(?![^;]*\b(?:DEFAULT|GENERATED)\b)"
)
_COMMENT = re.compile(r"--.*")


def breaks(script: str) -> bool:
    """Whether a migration takes something away that a running process may use."""
    return _BREAKING.search(_COMMENT.sub("", script)) is not None


def places_of_a_record() -> tuple[str, ...]:
    """The names of lua/include/record.lua, in the order of their places."""
    text = (ROOT / "lua" / "include" / "record.lua").read_text(encoding="utf-8")
    numbered = [
        (int(number), name.lower())
        for names, numbers in re.findall(r"^local ([A-Z_, ]+) = ([0-9, ]+)$", text, re.MULTILINE)
        for name, number in zip(names.split(", "), numbers.split(", "), strict=True)
    ]
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return tuple("buyer_id" if name == "buyer" else name for _, name in numbered)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_field_the_writer_does_not_know_is_refused(kind: str) -> None:
    decode_event(msgspec.json.encode(EXAMPLES[kind]))
    with pytest.raises(msgspec.ValidationError, match="unknown field `later`"):
        decode_event(msgspec.json.encode({**EXAMPLES[kind], "later": 1}))


@pytest.mark.parametrize("kind", sorted(LATER))
def test_an_event_from_before_a_field_was_there_is_read(kind: str) -> None:
    early = {name: value for name, value in EXAMPLES[kind].items() if name not in LATER[kind]}
    assert len(early) < len(EXAMPLES[kind])
    decode_event(msgspec.json.encode(early))


def test_the_fold_has_each_event_type() -> None:
    assert set(Fold._handlers) == set(get_args(Event))


@pytest.mark.parametrize(
    "copy",
    [ExtendedRecord, StoredRecord, partition_view.Record, state.StoredRecord],
    ids=lambda copy: copy.__module__,
)
def test_a_record_has_one_order_of_places_wherever_it_is_written(
    copy: type[msgspec.Struct],
) -> None:
    assert copy.__struct_fields__ == places_of_a_record()


def test_a_repair_names_the_places_of_a_record() -> None:
    text = (ROOT / "lua" / "partitions" / "include" / "repair_event.lua").read_text(
        encoding="utf-8"
    )
    fields = re.search(r"^local RECORD_FIELDS = \{(.*?)\}", text, re.MULTILINE | re.DOTALL)
    assert fields is not None
    assert tuple(re.findall(r"'(\w+)'", fields[1])) == places_of_a_record()


def test_a_reservation_in_a_reply_is_its_token_and_its_record() -> None:
    # All but the keys of its returns and of its extensions.
    assert Reservation.__struct_fields__ == ("token", *places_of_a_record()[:-2])


@pytest.mark.parametrize(
    "places",
    [HELD, PAID, RETURNED, EXTENDED],
    ids=["held", "paid", "returned", "extended"],
)
def test_a_record_is_read_whatever_comes_behind_its_places(places: tuple[object, ...]) -> None:
    known = msgspec.convert(places, StoredRecord)
    assert known.fingerprint == "Zm9vYmFyYmF"
    whole = (*places, *("", (), (), ())[len(places) - 10 :], "later")
    packed = msgspec.msgpack.encode(whole)
    assert msgspec.msgpack.decode(packed, type=StoredRecord).lines == known.lines


def test_a_sale_with_a_field_of_a_later_release_is_refused() -> None:
    msgspec.convert(SPEC, SaleSpec)
    with pytest.raises(msgspec.ValidationError, match="unknown field `later`"):
        msgspec.convert({**SPEC, "later": 1}, SaleSpec)


def test_a_token_is_made_as_it_always_was() -> None:
    # A retry finds its reservation by this, also after the gateways were replaced.
    assert keyed_token(b"k" * 32, "ann", "checkout-1") == "DXDO3Q5yEvElODsHIqGvkA"


def test_migrations_only_add_but_for_the_one_that_the_page_names() -> None:
    page = (ROOT / "docs" / "how-to" / "change_formats.md").read_text(encoding="utf-8")
    breaking = [migration.name for migration in read_migrations() if breaks(migration.script)]
    assert breaking == ["0008_partitions_by_sale", "0014_blocks_of_sales", "0015_sales_into_blocks"]
    assert all(f"`{name}`" in page for name in breaking)


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE sales;",
        "ALTER TABLE sales RENAME COLUMN spec TO body;",
        "ALTER TABLE sales ALTER COLUMN partitions TYPE bigint;",
        "ALTER TABLE sales ALTER COLUMN opens_at SET NOT NULL;",
        "ALTER TABLE sales ADD COLUMN region text NOT NULL;",
        "ALTER TABLE sales ADD CONSTRAINT few CHECK (partitions < 9);",
    ],
)
def test_a_migration_that_takes_away_is_found(script: str) -> None:
    assert breaks(script)


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE sales ADD COLUMN region text;",
        "ALTER TABLE sales ADD COLUMN region text NOT NULL DEFAULT 'eu';",
        "CREATE TABLE regions (name text NOT NULL); -- DROP nothing",
    ],
)
def test_a_migration_that_adds_is_not(script: str) -> None:
    assert not breaks(script)
