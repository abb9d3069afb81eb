"""A partition as it lies in Redis, every key of it, read apart from the scripts' own reading."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from gateway.inventory.events import Event, decode_event
from gateway.inventory.types import AccountCounters, ClosedEpoch, ReservationState

COUNTERS = ("loaded", "adjusted", "transferred", "in_transit", "available", "held", "sold")
SENTINEL = b""
SENTINEL_VALUE = b"." * 65
# Fields of meta that are there only once they have content.
PACKED = frozenset({b"repairs", b"adjustments", b"closed_epochs"})


class StoredRecord(msgspec.Struct, frozen=True, array_like=True):
    """A field of the reservations hash; the array of lua/include/record.lua."""

    state: int
    epoch: int
    sequence: int
    accepted_epoch: int
    accepted_sequence: int
    deadline: int
    extended_ms: int
    buyer_id: str
    fingerprint: str
    lines: tuple[int, ...]
    payment_reference: str = ""
    returned: tuple[int, ...] = ()
    return_keys: tuple[str, ...] = ()
    extend_keys: tuple[str, ...] = ()


class StoredItem(msgspec.Struct, frozen=True, array_like=True):
    """An item of the stored catalogue."""

    sku: str
    unit_price: int
    limit: int
    floor: int
    paused: bool
    accounts: tuple[int, ...]


class StoredAccount(msgspec.Struct, frozen=True, array_like=True):
    """An account of the stored catalogue."""

    sku: str
    location: str
    item: int


class StoredCatalog(msgspec.Struct, frozen=True, array_like=True):
    """The catalogue of the meta hash, read from its entries; an earlier release had it whole, in
    the field `catalog`.
    """

    items: tuple[StoredItem, ...]
    accounts: tuple[StoredAccount, ...]
    split: bool
    rules: tuple[bool, int, int, int, int, int]


class _Counts(msgspec.Struct, frozen=True, array_like=True):
    """The field `catalog` of the meta hash, beside its entries."""

    items: int
    accounts: int
    split: bool
    rules: tuple[bool, int, int, int, int, int]


class _ItemEntry(msgspec.Struct, frozen=True, array_like=True):
    """A field `item:N` of the meta hash."""

    sku: str
    unit_price: int
    limit: int
    floor: int
    paused: bool
    first: int
    locations: tuple[str, ...]


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The meta hash, every field of it."""

    run_id: str
    epoch: int
    sequence: int
    state: str
    sale: str
    number: int
    opens_at: int
    closes_at: int
    hold_ms: int
    extension_ms: int
    last_time: int
    shift: int
    ledger_sequence: int
    outbox_bound: int
    sweep_bound: int
    fingerprint: str
    catalog: StoredCatalog
    totals: dict[int, int]  # units available of each item with several accounts
    repairs: tuple[int | str, ...] = ()
    adjustments: tuple[int | str, ...] = ()
    closed_epochs: tuple[ClosedEpoch, ...] = ()


@dataclass(frozen=True, slots=True)
class Buyer:
    """A field of the buyers hash: units held and sold by item, own active holds, the highest
    admission number spent, how many were given back, until when the buyer waits for it, and how
    many were given back in the latest window that has any, with the window's number.
    """

    counts: dict[int, int]
    holds: tuple[str, ...] = ()
    admission: int = 0
    given_back: int = 0
    cools_until: int = 0
    unpaid: int = 0
    unpaid_window: int = 0


@dataclass(frozen=True, slots=True)
class PartitionState:
    """All six keys, decoded, without their sentinels."""

    meta: Meta
    stock: dict[tuple[str, str], AccountCounters]
    records: dict[str, StoredRecord]
    buyers: dict[str, Buyer]
    deadlines: dict[str, int]
    events: tuple[Event, ...]


def contents(client: redis.Redis) -> dict[bytes, object]:
    """Everything in the server by key: type, time to live and content, order-free."""
    found: dict[bytes, object] = {}
    for key in sorted(run(client, "KEYS", "*")):
        kind = run(client, "TYPE", key)
        content: object
        if kind == b"hash":
            content = run(client, "HGETALL", key)
        elif kind == b"zset":
            content = run(client, "ZRANGE", key, 0, -1, "WITHSCORES")
        elif kind == b"stream":
            content = (run(client, "XRANGE", key, "-", "+"), _last_generated(client, key))
        else:
            content = run(client, "DUMP", key)
        found[key] = (kind, run(client, "PTTL", key), content)
    return found


def run(client: redis.Redis, *command: str | bytes | float) -> Any:
    """One command; redis-py's own types promise an awaitable where there is none."""
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def writes(client: redis.Redis) -> int:
    """The server's count of changes: it moves even where a write leaves the same value."""
    return int(run(client, "INFO", "persistence")["rdb_changes_since_last_save"])


def read_state(client: redis.Redis, keys: tuple[bytes, ...]) -> PartitionState:
    """Decode all six keys; every sentinel must be there and nothing may expire."""
    *lives, meta_fields, stock, records, buyers, scored, entries = _read(
        client,
        *(("PTTL", key) for key in keys),
        *(("HGETALL", key) for key in keys[:4]),
        ("ZRANGE", keys[4], "0", "-1", "WITHSCORES"),
        ("XRANGE", keys[5], "-", "+"),
    )
    assert lives == [-1] * len(keys)
    for fields in (meta_fields, stock, records, buyers):
        assert fields.pop(SENTINEL) == SENTINEL_VALUE
    meta = _meta(meta_fields)
    deadlines = dict(zip(scored[::2], scored[1::2], strict=True))
    assert deadlines.pop(SENTINEL) == b"inf"
    events: list[Event] = []
    for entry_id, fields in entries:
        assert set(fields) == {b"event"}
        event = decode_event(fields[b"event"])
        assert entry_id == f"{event.epoch}-{event.sequence}".encode()
        events.append(event)
    return PartitionState(
        meta=meta,
        stock=_stock(stock, meta.catalog),
        records={
            name.decode(): msgspec.msgpack.decode(packed, type=StoredRecord)
            for name, packed in records.items()
        },
        buyers={name.decode(): _buyer(packed) for name, packed in buyers.items()},
        deadlines={name.decode(): int(score) for name, score in deadlines.items()},
        events=tuple(events),
    )


def check_state(state: PartitionState) -> None:
    """What is true of a whole partition at any moment, each fact from two of its keys."""
    for name, account in state.stock.items():
        given = account.loaded + account.adjusted + account.transferred
        assert given == account.available + account.held + account.sold, name
        assert account.held >= 0, name
        assert account.sold >= 0, name
    held, sold = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    counts: dict[str, Counter[int]] = {}
    holds: dict[str, set[str]] = {}
    for token, record in state.records.items():
        active = record.state == ReservationState.HELD
        if not active and record.state != ReservationState.CONFIRMED:
            continue
        returned = dict(zip(record.returned[::2], record.returned[1::2], strict=True))
        for number, quantity in zip(record.lines[::2], record.lines[1::2], strict=True):
            units = quantity - returned.get(number, 0)
            stored = state.meta.catalog.accounts[number - 1]
            (held if active else sold)[stored.sku, stored.location] += units
            counts.setdefault(record.buyer_id, Counter())[stored.item] += units
        if active:
            holds.setdefault(record.buyer_id, set()).add(token)
            assert state.deadlines.get(token) == record.deadline
    assert state.meta.totals == {
        number: sum(state.stock[item.sku, name].available for name in _locations(state, item))
        for number, item in enumerate(state.meta.catalog.items, start=1)
        if len(item.accounts) > 1
    }
    for name, account in state.stock.items():
        assert account.held == held[name], name
        assert account.sold == sold[name], name
    assert {b: set(buyer.holds) for b, buyer in state.buyers.items() if buyer.holds} == holds
    expected = {b: {i: n for i, n in c.items() if n} for b, c in counts.items()}
    over = (ReservationState.CANCELLED, ReservationState.EXPIRED)
    given_back = Counter(r.buyer_id for r in state.records.values() if r.state in over)
    assert Counter({b: k.given_back for b, k in state.buyers.items() if k.given_back}) == given_back
    for buyer in state.buyers.values():
        assert buyer.unpaid <= buyer.given_back
        assert (buyer.unpaid > 0) == (buyer.unpaid_window > 0)
    kept = set(holds) | set(given_back) | {b for b, k in state.buyers.items() if k.admission}
    known = {b: buyer.counts for b, buyer in state.buyers.items()}
    assert {b: c for b, c in known.items() if c} == {b: c for b, c in expected.items() if c}
    assert {b for b, c in known.items() if not c} <= kept <= set(known)
    assert set(state.deadlines) == {t for tokens in holds.values() for t in tokens}
    assert (state.meta.epoch, state.meta.sequence) == (
        state.events[-1].epoch,
        state.events[-1].sequence,
    )


def _locations(state: PartitionState, item: StoredItem) -> list[str]:
    return [state.meta.catalog.accounts[number - 1].location for number in item.accounts]


def _read(client: redis.Redis, *commands: tuple[str | bytes, ...]) -> list[Any]:
    """All of it in one round trip: the property tests look after every step."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
    return pipeline.execute()


def _meta(fields: Mapping[bytes, bytes]) -> Meta:
    raw: dict[str, object] = {
        name.decode(): value.decode()
        for name, value in fields.items()
        if name not in {b"catalog", *PACKED} and b":" not in name
    }
    for name in PACKED & fields.keys():
        raw[name.decode()] = msgspec.msgpack.decode(fields[name])
    raw["catalog"] = _catalog(fields)
    raw["totals"] = {
        int(name.removeprefix(b"available:")): int(value)
        for name, value in fields.items()
        if name.startswith(b"available:")
    }
    return msgspec.convert(raw, Meta, strict=False)


def _catalog(fields: Mapping[bytes, bytes]) -> StoredCatalog:
    """Every entry, each account from two of them."""
    counts = msgspec.msgpack.decode(fields[b"catalog"], type=_Counts)
    named = {name for name in fields if name.startswith((b"item:", b"account:"))}
    assert len(named) == counts.items + counts.accounts, "entries of no item or account"
    items: list[StoredItem] = []
    accounts: list[StoredAccount] = []
    for number in range(1, counts.items + 1):
        entry = msgspec.msgpack.decode(fields[b"item:%d" % number], type=_ItemEntry)
        own = tuple(range(entry.first, entry.first + len(entry.locations)))
        assert own[0] == len(accounts) + 1
        assert {fields[b"account:%d" % account] for account in own} == {b"%d" % number}
        accounts += [StoredAccount(entry.sku, location, number) for location in entry.locations]
        items.append(
            StoredItem(
                *(entry.sku, entry.unit_price, entry.limit, entry.floor),
                paused=entry.paused,
                accounts=own,
            )
        )
    return StoredCatalog(tuple(items), tuple(accounts), counts.split, counts.rules)


def _stock(
    fields: Mapping[bytes, bytes], catalog: StoredCatalog
) -> dict[tuple[str, str], AccountCounters]:
    left = {name.decode(): int(value) for name, value in fields.items()}
    stock = {
        (account.sku, account.location): AccountCounters(
            account.sku,
            account.location,
            *(left.pop(f"{account.sku}:{account.location}:{name}") for name in COUNTERS),
        )
        for account in catalog.accounts
    }
    assert not left, "counters of no account"
    return stock


def _buyer(packed: bytes) -> Buyer:
    fields = msgspec.msgpack.decode(packed, type=list[int | str])
    numbers = [field for field in fields if isinstance(field, int)]
    tokens = [field for field in fields if isinstance(field, str)]
    assert fields == [*numbers, *tokens], "counts come before holds"
    counts = dict(zip(numbers[::2], numbers[1::2], strict=True))
    others = (counts.pop(key, 0) for key in (0, -1, -2, -3, -4))
    return Buyer(counts, tuple(tokens), *others)


def _last_generated(client: redis.Redis, key: bytes) -> object:
    return run(client, "XINFO STREAM", key)["last-generated-id"]
