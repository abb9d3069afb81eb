"""repair: an account, a reservation or a buyer becomes what the ledger has, once."""

from hashlib import sha1

import msgspec
import pytest

from gateway.inventory.events import Position, Repair, Repaired
from gateway.inventory.store import RepairReply
from tests.support.scripts.answers import Answer
from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import COUNTERS, Buyer, StoredRecord, run

DEFAULT = ("tee", "default")
SALE = Sale(items=(Item("tee"), Item("cap")))
Fields = list[object]


def _call(rig: Rig, *request: object) -> Answer:
    return rig.call("repair", rig.pack(request))


def _account(rig: Rig, compared: int, repair_id: str = "7:1", **deltas: int) -> RepairReply:
    values = [deltas.get(name, 0) for name in COUNTERS]
    return _call(rig, "account", repair_id, "ops", 1, compared, values).read(RepairReply)


def _reservation(rig: Rig, name: str, at: Position, record: object) -> RepairReply:
    request = ("reservation", "7:1", "ops", token(name), at.epoch, at.sequence, record)
    return _call(rig, *request).read(RepairReply)


def _buyer(rig: Rig, buyer: str, compared: bytes, *counts: int) -> RepairReply:
    digest = sha1(compared, usedforsecurity=False).hexdigest()
    return _call(rig, "buyer", "7:1", "ops", buyer, digest, counts).read(RepairReply)


def _fields(rig: Rig, name: str) -> Fields:
    """The record as it is stored."""
    packed = run(rig.client, "HGET", rig.keys[2], token(name))
    return msgspec.msgpack.decode(packed, type=Fields)


def _last(record: Fields | StoredRecord) -> Position:
    if isinstance(record, StoredRecord):
        return Position(record.epoch, record.sequence)
    return msgspec.convert({"epoch": record[1], "sequence": record[2]}, Position)


def _stored_buyer(rig: Rig, buyer: str = "ann") -> bytes:
    return run(rig.client, "HGET", rig.keys[3], buyer) or b""


def _drift(rig: Rig, counter: str, units: int) -> None:
    run(rig.client, "HINCRBY", rig.keys[1], f"tee:default:{counter}", units)


def _event(rig: Rig, sequence: int, *changes: Repaired, **target: object) -> Repair:
    nothing = {"sku": None, "location": None, "reservation_id": None, "buyer_id": None}
    numbered = rig.numbered(sequence)
    return Repair(**numbered | nothing | target, repair_id="7:1", actor="ops", changes=changes)  # type: ignore[arg-type]


def test_a_delta_is_added_to_what_moved_since(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a", (("tee", 3),))
    compared = rig.snapshot().sequence
    rig.hold("b", (("tee", 2),))
    before = rig.state()
    _drift(rig, "available", 2)
    _drift(rig, "sold", -1)
    assert _account(rig, compared, available=-2, sold=1) == RepairReply("repaired", 5)
    after = rig.state()
    assert after.stock == before.stock
    assert (after.records, after.buyers, after.deadlines) == (
        before.records, before.buyers, before.deadlines,
    )  # fmt: skip
    changes = (Repaired("available", "7", "5"), Repaired("sold", "-1", "0"))
    sku, location = DEFAULT
    assert after.events[-1] == _event(
        rig, 5, *changes, target="account", sku=sku, location=location
    )


def test_a_delta_is_added_once(rig: Rig) -> None:
    """A repeated call, and a reconciler that compared before another one repaired."""
    rig.open(SALE)
    _drift(rig, "available", 1)
    assert _account(rig, 2, available=-1).outcome == "repaired"
    with rig.unchanged():
        assert _account(rig, 2, available=-1) == RepairReply("already", 3)
        assert _account(rig, 2, "8:1", available=-1) == RepairReply("moved", 3)
    _drift(rig, "available", 1)
    assert _account(rig, 3, "8:1", available=-1) == RepairReply("repaired", 4)
    rig.state()


def test_a_later_comparison_is_another_repair(rig: Rig) -> None:
    """Even under the same number: a number may be used again after a crash."""
    rig.open(SALE)
    for compared in (2, 3):
        _drift(rig, "available", 1)
        assert _account(rig, compared, available=-1) == RepairReply("repaired", compared + 1)
    rig.state()


def test_a_repair_of_another_epoch_means_nothing(rig: Rig) -> None:
    rig.open(SALE)
    _drift(rig, "available", 1)
    assert _account(rig, 2, available=-1).outcome == "repaired"
    rig.recover("b" * 40, 2, Position(1, 3), 0)
    rig.run_id, rig.epoch = "b" * 40, 2
    _drift(rig, "available", 1)
    assert _account(rig, 1, available=-1) == RepairReply("repaired", 2)


def test_accounts_are_remembered_apart(rig: Rig) -> None:
    rig.open(SALE)
    _drift(rig, "available", 1)
    run(rig.client, "HINCRBY", rig.keys[1], "cap:default:held", -1)
    assert _account(rig, 2, available=-1).outcome == "repaired"
    deltas = [0, 0, 0, 0, 0, 1, 0]
    request = ("account", "7:2", "ops", 2, 2, deltas)
    assert _call(rig, *request).read(RepairReply).outcome == "repaired"
    with rig.unchanged():
        assert _account(rig, 2, available=-1).outcome == "already"
        assert _call(rig, *request).read(RepairReply).outcome == "already"
    assert rig.state().meta.repairs == (1, 1, 3, "7:1", 2, 1, 4, "7:2")


def test_an_account_whose_identity_would_not_hold_has_moved(rig: Rig) -> None:
    rig.open(SALE)
    _drift(rig, "available", 2)
    with rig.unchanged():
        assert _account(rig, 2, available=-1) == RepairReply("moved", 2)


@pytest.mark.parametrize("deltas", [[0] * 7, [1] * 6, [1, "1", 0, 0, 0, 0, 0], None, [0.5] * 7])
@pytest.mark.parametrize(("account", "compared"), [(1, 2), (0, 2), (3, 2), (1, 3), (1, -1)])
def test_an_account_repair_of_nothing(
    rig: Rig, account: int, compared: int, deltas: object
) -> None:
    rig.open(SALE)
    valid = (account, compared) == (1, 2)
    given = deltas if valid else [1, 0, 0, 0, 1, 0, 0]
    with rig.unchanged():
        answer = _call(rig, "account", "7:1", "ops", account, compared, given)
    assert answer.status == "malformed"


@pytest.mark.parametrize("edge", ["hold", "confirm", "cancel", "return"])
def test_a_lost_record_is_put_back(rig: Rig, edge: str) -> None:
    rig.open(SALE)
    rig.hold("a", (("tee", 2), ("cap", 1)))
    if edge in {"confirm", "return"}:
        rig.confirm("a")
    if edge == "return":
        rig.return_units("a", lines=(("tee", 1),))
    if edge == "cancel":
        rig.cancel("a")
    before, fields = rig.state(), _fields(rig, "a")
    run(rig.client, "HDEL", rig.keys[2], token("a"))
    run(rig.client, "ZREM", rig.keys[4], token("a"))
    if edge == "hold":
        packed = rig.pack((1, 2, 2, 1))  # the counts without the hold
        run(rig.client, "HSET", rig.keys[3], "ann", packed)
    assert _reservation(rig, "a", Position(0, 0), fields).outcome == "repaired"
    after = rig.state()
    assert after.records == before.records
    assert (after.buyers, after.deadlines) == (before.buyers, before.deadlines)
    assert after.stock == before.stock
    event = after.events[-1]
    assert isinstance(event, Repair)
    assert (event.target, event.buyer_id) == ("reservation", "ann")
    assert event.reservation_id == rig.reservation_id("a")
    assert Repaired("state", None, str(fields[0])) in event.changes
    with rig.unchanged():
        assert _reservation(rig, "a", Position(0, 0), fields).outcome == "already"
    if edge == "hold":
        assert rig.confirm("a").outcome == "confirmed"


def test_a_leaked_record_is_taken_away(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a")
    before = rig.state()
    forged = [*_fields(rig, "a")]
    run(rig.client, "HSET", rig.keys[2], token("ghost"), rig.pack(forged))
    run(rig.client, "ZADD", rig.keys[4], 1, token("ghost"))
    packed = rig.pack((1, 1, token("a"), token("ghost")))
    run(rig.client, "HSET", rig.keys[3], "ann", packed)
    assert _reservation(rig, "ghost", _last(forged), record=False).outcome == "repaired"
    after = rig.state()
    assert (after.records, after.buyers, after.deadlines) == (
        before.records, before.buyers, before.deadlines,
    )  # fmt: skip
    with rig.unchanged():
        assert _reservation(rig, "ghost", _last(forged), record=False).outcome == "already"


def test_a_record_that_moved_is_left_alone(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a")
    fields = _fields(rig, "a")
    compared = _last(fields)
    rig.extend("a", 1000)
    with rig.unchanged():
        assert _reservation(rig, "a", compared, fields).outcome == "moved"
        assert _reservation(rig, "a", compared, record=False).outcome == "moved"
        assert _reservation(rig, "a", Position(0, 0), fields).outcome == "moved"
        assert _reservation(rig, "other", compared, fields).outcome == "moved"


def test_a_record_may_go_to_another_buyer(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a", buyer="bob")
    fields = _fields(rig, "a")
    forged = [*fields[:7], "eve", *fields[8:]]
    run(rig.client, "HSET", rig.keys[2], token("a"), rig.pack(forged))
    run(rig.client, "HSET", rig.keys[3], "eve", rig.pack((token("a"),)))
    run(rig.client, "HSET", rig.keys[3], "bob", rig.pack((1, 1)))
    assert _reservation(rig, "a", _last(forged), fields).outcome == "repaired"
    assert rig.state().buyers == {"bob": Buyer({1: 1}, (token("a"),))}


def test_only_the_deadline_was_lost(rig: Rig) -> None:
    rig.open(SALE)
    hold = rig.hold("a")
    run(rig.client, "ZREM", rig.keys[4], token("a"))
    fields = _fields(rig, "a")
    assert _reservation(rig, "a", _last(fields), fields).outcome == "repaired"
    event = rig.state().events[-1]
    assert isinstance(event, Repair)
    assert event.changes == (Repaired("deadline_index", None, str(hold.deadline)),)


def test_what_cannot_be_read_is_told_as_such(rig: Rig) -> None:
    """A forged value must not make an event that nobody can decode."""
    rig.open(SALE)
    rig.hold("a")
    fields = _fields(rig, "a")
    forged = rig.pack([*fields[:8], msgspec.Raw(b"\xa2\xc3\x28"), [[1], 2]])
    run(rig.client, "HSET", rig.keys[2], token("a"), forged)
    assert _reservation(rig, "a", _last(fields), fields).outcome == "repaired"
    event = rig.state().events[-1]
    assert isinstance(event, Repair)
    assert event.changes == (
        Repaired("fingerprint", "unreadable", "order-1"),
        Repaired("lines", "unreadable", "1 1"),
    )


@pytest.mark.parametrize("garbage", [b"garbage", b"\xc1", b"\x90", b"\x93\x01\x01\x02"])
def test_garbage_in_the_place_of_a_record(rig: Rig, garbage: bytes) -> None:
    rig.open(SALE)
    rig.hold("a")
    before, fields = rig.state(), _fields(rig, "a")
    for name, wanted in (("a", fields), ("ghost", False)):
        run(rig.client, "HSET", rig.keys[2], token(name), garbage)
        assert _reservation(rig, name, Position(0, 0), wanted).outcome == "repaired"
    after = rig.state()
    assert (after.records, after.buyers, after.deadlines) == (
        before.records, before.buyers, before.deadlines,
    )  # fmt: skip


@pytest.mark.parametrize("garbage", [b"garbage", b"\xc1", b"\x92\xa1x\x01"])
def test_garbage_in_the_place_of_a_buyer(rig: Rig, garbage: bytes) -> None:
    rig.open(SALE)
    rig.hold("a")
    rig.confirm("a")
    before = rig.state()
    run(rig.client, "HSET", rig.keys[3], "ann", garbage)
    assert _buyer(rig, "ann", garbage, 1, 1).outcome == "repaired"
    assert rig.state().buyers == before.buyers


def test_a_buyers_counts_are_set_and_the_holds_stay(rig: Rig) -> None:
    rig.open(SALE)
    rig.hold("a", (("tee", 2), ("cap", 1)))
    before = rig.state()
    packed = rig.pack((2, 5, token("a")))
    run(rig.client, "HSET", rig.keys[3], "ann", packed)
    with rig.unchanged():
        assert _buyer(rig, "ann", b"another", 1, 2, 2, 1).outcome == "moved"
    assert _buyer(rig, "ann", packed, 1, 2, 2, 1) == RepairReply("repaired", 4)
    after = rig.state()
    assert after.buyers == before.buyers
    changes = (Repaired("tee", "0", "2"), Repaired("cap", "5", "1"))
    assert after.events[-1] == _event(rig, 4, *changes, target="buyer", buyer_id="ann")
    with rig.unchanged():
        assert _buyer(rig, "ann", packed, 1, 2, 2, 1).outcome == "already"


def test_a_lost_admission_is_spent_again(rig: Rig) -> None:
    rig.open(Sale(waiting_room=True))
    rig.reserve(Ask("a", admission=7))
    before = rig.state()
    packed = rig.pack((1, 1, token("a")))
    run(rig.client, "HSET", rig.keys[3], "ann", packed)
    assert _buyer(rig, "ann", packed, 0, 7, 1, 1).outcome == "repaired"
    after = rig.state()
    assert after.buyers == before.buyers
    event = after.events[-1]
    assert isinstance(event, Repair)
    assert event.changes == (Repaired("admission", "0", "7"),)
    assert rig.reserve(Ask("b", admission=7))[0].outcome == "not_admitted"


def test_a_lost_count_of_what_was_given_back_counts_again(rig: Rig) -> None:
    rig.open(Sale(unpaid_per_buyer=1, unpaid_window_ms=1000))
    rig.hold("a")
    rig.cancel("a")
    before = rig.state()
    packed = rig.pack((-1, 1))
    run(rig.client, "HSET", rig.keys[3], "ann", packed)
    window = before.buyers["ann"].unpaid_window
    assert _buyer(rig, "ann", packed, -4, window, -3, 1, -1, 1).outcome == "repaired"
    after = rig.state()
    assert after.buyers == before.buyers
    event = after.events[-1]
    assert isinstance(event, Repair)
    changes = (Repaired("unpaid", "0", "1"), Repaired("unpaid_window", "0", str(window)))
    assert event.changes == changes
    assert rig.reserve(Ask("b"))[0].outcome == "limit_exceeded"


def test_a_buyer_nobody_knows_is_forgotten(rig: Rig) -> None:
    rig.open(SALE)
    forged = rig.pack((1, 3, 7, 7))
    run(rig.client, "HSET", rig.keys[3], "ghost", forged)
    assert _buyer(rig, "ghost", forged).outcome == "repaired"
    assert rig.state().buyers == {}
    with rig.unchanged():
        assert _buyer(rig, "ghost", forged).outcome == "already"


@pytest.mark.parametrize(
    "numbers", [None, 7, [1], [-2, 1], [-1, 0], [0, 0], [3, 1], [1, 0], [1, 10**9 + 1], [1, "1"]]
)
def test_numbers_that_are_none(rig: Rig, numbers: object) -> None:
    rig.open(SALE)
    digest = sha1(_stored_buyer(rig), usedforsecurity=False).hexdigest()
    with rig.unchanged():
        for compared, given in ((digest, numbers), (digest[:39], [1, 1]), (7, [1, 1])):
            assert _call(rig, "buyer", "7:1", "ops", "ann", compared, given).status == "malformed"


def test_nothing_is_repaired_while_the_ledger_is_behind(rig: Rig) -> None:
    rig.open(Sale(items=(Item("tee"), Item("cap")), outbox_bound=3))
    rig.hold("a")
    _drift(rig, "available", 1)
    with rig.unchanged():
        assert _account(rig, 3, available=-1) == RepairReply("ledger_behind", 3)
