"""How the catalogue is stored: entries that calls read one by one, or whole, as it once was."""

from collections.abc import Callable

import msgspec
import pytest
import redis

from tests.support.scripts.harness import HOUR_MS, Rig
from tests.support.scripts.sale import Ask, Item, Sale
from tests.support.scripts.state import run

PLACES = tuple(f"place-{n:02}" for n in range(50))
TWO_ITEMS = Sale(items=(Item("tee", stock=(("paris", 3), ("lyon", 4))), Item("cap")))


def _spread(*units: int) -> Sale:
    stock = tuple(zip(PLACES, (*units, *(0,) * (len(PLACES) - len(units))), strict=True))
    return Sale(items=(Item("tee", stock=stock),))


def _store_whole(rig: Rig) -> None:
    """Store the catalogue of the rig's partition as the release before entries did."""
    sale, meta = rig.sale, rig.keys[0]
    fields = [field for field in run(rig.client, "HKEYS", meta) if b":" in field]
    run(rig.client, "HDEL", meta, *fields)
    items, accounts = sale.fields()[9], [account[:3] for account in sale.accounts]
    whole = msgspec.msgpack.encode([items, accounts, sale.split, sale.rules[:5]])
    run(rig.client, "HSET", meta, "catalog", whole)


@pytest.mark.parametrize("place", [0, 15, 16, 17, 40, 49])
def test_a_line_finds_its_location_however_far_down_it_is(rig: Rig, place: int) -> None:
    rig.open(_spread(*(0,) * place, 2))
    assert rig.hold("a", (("tee", 2),)).lines == (place + 1, 2)
    assert rig.reserve(Ask("b", "bob"))[0].outcome == "sold_out"
    rig.state()


def test_a_batch_sees_what_it_took_itself_where_it_had_looked_before(rig: Rig) -> None:
    rig.open(_spread(1, 1, 0, 2))
    replies = rig.reserve(
        Ask("a", "ann", (("tee", 2),)),  # looks at the first three places, takes the fourth
        Ask("b", "bob", (("tee", 1),)),
        Ask("c", "cid", (("tee", 2),)),
        Ask("d", "dan", (("tee", 1),)),
        Ask("e", "eve", (("tee", 1),)),
    )
    outcomes = [reply.outcome for reply in replies]
    assert outcomes == ["accepted", "accepted", "sold_out", "accepted", "sold_out"]
    rig.state()


@pytest.mark.parametrize("field", ["item:1", "available:1", "item:2"])
def test_a_missing_entry_is_lost_data(rig: Rig, field: str) -> None:
    rig.open(TWO_ITEMS)
    run(rig.client, "HDEL", rig.keys[0], field)
    with rig.unchanged():
        assert rig.raw("snapshot").status == "recovering"
        with pytest.raises(redis.ResponseError, match="entry missing: " + field):
            rig.reserve(Ask("a", "ann", (("tee", 1), ("cap", 1))))


def test_an_account_without_its_entry_is_lost_data(rig: Rig) -> None:
    rig.open(TWO_ITEMS)
    rig.hold("a")
    run(rig.client, "HDEL", rig.keys[0], "account:1")
    with rig.unchanged(), pytest.raises(redis.ResponseError, match="entry missing: account:1"):
        rig.confirm("a")


def test_a_repair_of_an_account_counts_the_total_anew(rig: Rig) -> None:
    """Whoever changed the account by hand may have left the total alone, or not."""
    rig.open(TWO_ITEMS)
    run(rig.client, "HINCRBY", rig.keys[1], "tee:lyon:available", -1)
    run(rig.client, "HINCRBY", rig.keys[1], "tee:lyon:sold", 1)
    deltas = (0, 0, 0, 0, 1, 0, -1)
    request = ("account", "1:1", "ops", 2, rig.snapshot().sequence, deltas)
    answer = rig.call("repair", rig.pack(request))
    assert answer.read(tuple[str, int])[0] == "repaired"
    rig.state()


def test_a_call_that_is_about_an_item_needs_no_other(rig: Rig) -> None:
    rig.open(TWO_ITEMS)
    run(rig.client, "HDEL", rig.keys[0], "item:2", "account:3")
    rig.hold("a")
    assert rig.confirm("a").outcome == "confirmed"


# -- a partition of the release before ----------------------------------------------------------


def _expired(rig: Rig) -> object:
    rig.advance(HOUR_MS)
    return rig.expire()[0]


CALLS: dict[str, tuple[Callable[[Rig], object], object]] = {
    "reserve": (lambda rig: rig.hold("n", (("tee", 3, "lyon"), ("cap", 1))).lines, (2, 3, 3, 1)),
    "sold_out": (lambda rig: rig.reserve(Ask("n", "bob", (("tee", 9),)))[0].outcome, "sold_out"),
    "confirm": (lambda rig: rig.confirm("a").outcome, "confirmed"),
    "cancel": (lambda rig: rig.cancel("a").outcome, "cancelled"),
    "expire": (_expired, 1),
    "adjust": (lambda rig: rig.adjust("tee", -1, "paris").outcome, "adjusted"),
    "pause": (lambda rig: rig.set_state("paused", "cap"), ("changed", "open")),
    "load": (lambda rig: rig.load(rig.sale), "already"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_whole_catalogue_is_worked_on_as_it_is(rig: Rig, name: str) -> None:
    """Scripts of the earlier release may still be at work on it, so it keeps its form."""
    rig.open(TWO_ITEMS)
    rig.hold("a", (("tee", 2),))
    _store_whole(rig)
    call, expected = CALLS[name]
    assert call(rig) == expected
    fields = run(rig.client, "HGETALL", rig.keys[0])
    assert not [field for field in fields if b":" in field]
    items, accounts, *_ = msgspec.msgpack.decode(fields[b"catalog"])
    paused = name == "pause"
    assert items == [
        ["tee", 2500, 10, 0, False, [1, 2]],
        ["cap", 2500, 10, 0, paused, [3]],
    ]
    assert accounts == [["tee", "paris", 1], ["tee", "lyon", 1], ["cap", "default", 2]]
    snapshot = rig.snapshot()
    assert snapshot.paused_skus == (("cap",) if paused else ())
    for account in snapshot.accounts:
        assert account.loaded + account.adjusted == account.available + account.held + account.sold


def test_a_whole_catalogue_is_sold_out_where_its_accounts_are(rig: Rig) -> None:
    rig.open(TWO_ITEMS)
    _store_whole(rig)
    asks = [Ask(f"n{n}", f"buyer-{n}", (("tee", 2),)) for n in range(4)]
    outcomes = [reply.outcome for reply in rig.reserve(*asks)]
    assert outcomes == ["accepted", "accepted", "accepted", "sold_out"]
