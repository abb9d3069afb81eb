"""load: (no partition) → scheduled."""

import pytest

from gateway.inventory.events import Load, LoadedAccount
from gateway.inventory.specs import ACCOUNTS_MAX, ITEMS_MAX, LOCATIONS_MAX
from gateway.inventory.types import AccountCounters
from tests.support.scripts.harness import RUN_ID, Rig
from tests.support.scripts.sale import Item, Sale
from tests.support.scripts.state import StoredAccount, StoredCatalog, StoredItem, run

TWO_ITEMS = Sale(
    items=(
        Item("tee", stock=(("paris", 3), ("lyon", 0)), unit_price=2500, limit=2, floor=-1),
        Item("cap-XL.2", stock=(("default", 7),), unit_price=0, limit=5, floor=2, paused=True),
    ),
    sale_id="summer-26",
    number=3,
    hold_ms=90_000,
    extension_ms=0,
    opens_at=1_700_000_000_000,
    closes_at=1_800_000_000_000,
    outbox_bound=50,
    sweep_bound=7,
    split=True,
    fingerprint="f-1",
    waiting_room=True,
    unpaid_per_buyer=7,
    unpaid_window_ms=86_400_000,
    cooldown=(3, 1000, 60_000),
)


def test_writes_the_partition_whole(rig: Rig) -> None:
    before = rig.time_ms()
    assert rig.load(TWO_ITEMS) == "loaded"
    after = rig.time_ms()

    state = rig.state()
    meta = state.meta
    assert (meta.run_id, meta.epoch, meta.sequence, meta.state) == (RUN_ID, 1, 1, "scheduled")
    assert (meta.sale, meta.number) == ("summer-26", 3)
    assert (meta.hold_ms, meta.extension_ms) == (90_000, 0)
    assert (meta.opens_at, meta.closes_at) == (1_700_000_000_000, 1_800_000_000_000)
    assert (meta.shift, meta.ledger_sequence) == (0, 0)
    assert (meta.outbox_bound, meta.sweep_bound, meta.fingerprint) == (50, 7, "f-1")
    assert before <= meta.last_time <= after
    assert meta.catalog == StoredCatalog(
        items=(
            StoredItem("tee", 2500, 2, -1, paused=False, accounts=(1, 2)),
            StoredItem("cap-XL.2", 0, 5, 2, paused=True, accounts=(3,)),
        ),
        accounts=(
            StoredAccount("tee", "paris", 1),
            StoredAccount("tee", "lyon", 1),
            StoredAccount("cap-XL.2", "default", 2),
        ),
        split=True,
        rules=(True, 7, 3, 1000, 60_000, 86_400_000),
    )
    assert state.stock == {
        ("tee", "paris"): AccountCounters("tee", "paris", 3, 0, 0, 0, 3, 0, 0),
        ("tee", "lyon"): AccountCounters("tee", "lyon", 0, 0, 0, 0, 0, 0, 0),
        ("cap-XL.2", "default"): AccountCounters("cap-XL.2", "default", 7, 0, 0, 0, 7, 0, 0),
    }
    assert (state.records, state.buyers, state.deadlines) == ({}, {}, {})
    assert state.events == (
        Load(
            v=1,
            event_id="summer-26:3:1-1",
            sale_id="summer-26",
            partition=3,
            epoch=1,
            sequence=1,
            occurred_at=meta.last_time,
            accounts=(
                LoadedAccount("tee", "paris", 3, 2500, 2, -1),
                LoadedAccount("tee", "lyon", 0, 2500, 2, -1),
                LoadedAccount("cap-XL.2", "default", 7, 0, 5, 2),
            ),
            hold_ms=90_000,
            extension_ms=0,
            opens_at=1_700_000_000_000,
            closes_at=1_800_000_000_000,
            split=True,
            waiting_room=True,
            unpaid_per_buyer=7,
            cooldown_after=3,
            cooldown_ms=1000,
            cooldown_max_ms=60_000,
            unpaid_window_ms=86_400_000,
        ),
    )
    assert set(run(rig.client, "KEYS", "*")) == set(rig.keys)


def test_again_is_already_and_writes_nothing(rig: Rig) -> None:
    rig.load(Sale())
    with rig.unchanged():
        assert rig.load(Sale()) == "already"


def test_already_after_the_sale_went_on(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    with rig.unchanged():
        assert rig.load(Sale()) == "already"


def test_another_sale_under_the_same_name_is_other(rig: Rig) -> None:
    rig.load(Sale())
    with rig.unchanged():
        assert rig.load(Sale(items=(Item("tee", limit=1),), fingerprint="config-2")) == "other"


@pytest.mark.parametrize("kept", range(6))
def test_a_key_left_over_is_lost_data_and_no_place_to_load_into(rig: Rig, kept: int) -> None:
    rig.load(Sale())
    run(rig.client, "DEL", *(key for n, key in enumerate(rig.keys) if n != kept))
    with rig.unchanged():
        assert rig.call("load", Sale().config()).status == "recovering"


def test_a_loaded_partition_is_fenced_like_any_other(rig: Rig) -> None:
    rig.load(Sale())
    with rig.unchanged():
        assert rig.raw("load", b"b" * 40, b"1", Sale().config()).status == "fenced"
        assert rig.raw("load", RUN_ID.encode(), b"2", Sale().config()).status == "fenced"


def _broken(**changes: object) -> list[object]:
    places = {"items": 9, "accounts": 10}
    fields = TWO_ITEMS.fields()
    for name, value in changes.items():
        fields[places[name]] = value
    return fields


TEE: list[object] = ["tee", 100, 1, 0, False, [1]]
ACCOUNT: list[object] = ["tee", "default", 1, 5]
BROKEN = {
    "no items": _broken(items=[], accounts=[ACCOUNT]),
    "no accounts": _broken(items=[TEE], accounts=[]),
    "items are a word": _broken(items="tee", accounts=[ACCOUNT]),
    "an item is a number": _broken(items=[5], accounts=[ACCOUNT]),
    "an account is a number": _broken(items=[TEE], accounts=[5]),
    "an item names no account": _broken(items=[["tee", 100, 1, 0, False, []]], accounts=[ACCOUNT]),
    "an item names another item's account": _broken(
        items=[TEE, ["cap", 100, 1, 0, False, [1]]], accounts=[ACCOUNT]
    ),
    "an item names an account twice": _broken(
        items=[["tee", 100, 1, 0, False, [1, 1]]], accounts=[ACCOUNT]
    ),
    "an account names another item": _broken(
        items=[TEE, ["cap", 100, 1, 0, False, [2]]],
        accounts=[["tee", "default", 2, 5], ["cap", "default", 2, 5]],
    ),
    "accounts that do not follow one another": _broken(
        items=[["tee", 100, 1, 0, False, [1, 3]], ["cap", 100, 1, 0, False, [2]]],
        accounts=[ACCOUNT, ["cap", "default", 2, 5], ["tee", "paris", 1, 5]],
    ),
    "accounts in another order": _broken(
        items=[["tee", 100, 1, 0, False, [2, 1]]], accounts=[ACCOUNT, ["tee", "paris", 1, 5]]
    ),
    "an account nobody sells from": _broken(
        items=[TEE], accounts=[ACCOUNT, ["tee", "paris", 1, 5]]
    ),
    "the same account twice": _broken(
        items=[["tee", 100, 1, 0, False, [1, 2]]], accounts=[ACCOUNT, ACCOUNT]
    ),
    "the same item twice": _broken(
        items=[TEE, ["tee", 100, 1, 0, False, [2]]],
        accounts=[ACCOUNT, ["tee", "paris", 2, 5]],
    ),
    "a name with a colon": _broken(
        items=[["t:e", 100, 1, 0, False, [1]]], accounts=[["t:e", "default", 1, 5]]
    ),
    "a name with a quote": _broken(
        items=[['t"e', 100, 1, 0, False, [1]]], accounts=[['t"e', "default", 1, 5]]
    ),
    "a location without a name": _broken(items=[TEE], accounts=[["tee", "", 1, 5]]),
    "a negative price": _broken(items=[["tee", -1, 1, 0, False, [1]]], accounts=[ACCOUNT]),
    "a limit of none": _broken(items=[["tee", 100, 0, 0, False, [1]]], accounts=[ACCOUNT]),
    "a floor that is no number": _broken(
        items=[["tee", 100, 1, float("nan"), False, [1]]], accounts=[ACCOUNT]
    ),
    "paused by a word": _broken(items=[["tee", 100, 1, 0, "no", [1]]], accounts=[ACCOUNT]),
    "half a unit": _broken(items=[TEE], accounts=[["tee", "default", 1, 0.5]]),
    "more units than counted": _broken(items=[TEE], accounts=[["tee", "default", 1, 10**9 + 1]]),
}


def _large(items: int, locations: int) -> Sale:
    stock = tuple((f"place-{number}", 5) for number in range(locations))
    return Sale(items=tuple(Item(f"sku-{number}", stock=stock) for number in range(items)))


@pytest.mark.parametrize(
    ("items", "locations"), [(ITEMS_MAX, 1), (20, 50), (2, LOCATIONS_MAX)], ids=str
)
def test_the_largest_catalogues_the_gateway_accepts_are_loaded(
    rig: Rig, items: int, locations: int
) -> None:
    assert rig.load(_large(items, locations)) == "loaded"
    assert len(rig.snapshot().accounts) == items * locations
    rig.state()


@pytest.mark.parametrize(
    ("items", "locations"), [(ITEMS_MAX + 1, 1), (ACCOUNTS_MAX // 2 + 1, 2), (1, LOCATIONS_MAX + 1)]
)
def test_a_larger_catalogue_is_malformed(rig: Rig, items: int, locations: int) -> None:
    with rig.unchanged():
        assert rig.call("load", _large(items, locations).config()).status == "malformed"


@pytest.mark.parametrize("fields", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_catalogue_is_malformed(rig: Rig, fields: list[object]) -> None:
    with rig.unchanged():
        assert rig.call("load", rig.pack(fields)).status == "malformed"
