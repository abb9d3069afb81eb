"""Each checker finds a planted violation: a checker that cannot fail is of no use."""

import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import pytest

from loadtest.client.history import Attempt, History
from loadtest.verdict.finding import Outcome
from tests.support.sales.honest_history import history_of
from tests.support.sales.judged_sale import JudgedSale
from tests.support.sales.partitions import token_of

Plant = Callable[[JudgedSale], Awaitable[None]]
WITHOUT_GUARDS = (
    "ALTER TABLE stock_accounts DROP CONSTRAINT stock_identity",
    "ALTER TABLE stock_accounts DROP CONSTRAINT stock_floor",
    "ALTER TABLE order_lines DISABLE TRIGGER USER",
    "ALTER TABLE ledger_events DISABLE TRIGGER USER",
    "ALTER TABLE reservations DISABLE TRIGGER USER",
)


class Case(NamedTuple):
    """A violation: which invariant it breaks, what the finding must say, how it is planted."""

    name: str
    invariant: int
    says: str
    plant: Plant


def in_ledger(*statements: str) -> Plant:
    """Plain changes of the ledger, its own guards taken away first."""

    async def plant(sale: JudgedSale) -> None:
        await sale.execute(*WITHOUT_GUARDS, *statements)

    return plant


def in_stock(**changes: int) -> Plant:
    """Changes of the counters of `shirt` in Redis."""

    async def plant(sale: JudgedSale) -> None:
        for counter, change in changes.items():
            await sale.redis.hincrby(sale.key("stock"), f"shirt:default:{counter}", change)

    return plant


def event(event_type: str, copied_from: str, **changes: object) -> Plant:
    """One event too many at the end of the log."""

    async def plant(sale: JudgedSale) -> None:
        await sale.append_event(event_type, copied_from, **changes)

    return plant


async def drop_record(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("reservations"), token_of("payer"))


async def invent_record(sale: JudgedSale) -> None:
    record = await sale.redis.hget(sale.key("reservations"), token_of("payer"))
    assert isinstance(record, bytes)
    await sale.redis.hset(sale.key("reservations"), secrets.token_urlsafe(16), record)


async def resolve_record(sale: JudgedSale) -> None:
    """A hold that Redis believes cancelled."""
    raw = await sale.redis.hget(sale.key("reservations"), token_of("holder"))
    assert isinstance(raw, bytes)
    record = msgspec.msgpack.decode(raw)
    record[0] = 3
    packed = msgspec.msgpack.encode(record)
    await sale.redis.hset(sale.key("reservations"), token_of("holder"), packed)


async def drop_deadline(sale: JudgedSale) -> None:
    await sale.redis.zrem(sale.key("deadlines"), token_of("holder"))


async def forget_buyer(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("buyers"), "holder")


async def forget_spent(sale: JudgedSale) -> None:
    await sale.redis.hdel(sale.key("buyers"), "canceller")


async def other_bytes(sale: JudgedSale) -> None:
    await sale.execute(
        *WITHOUT_GUARDS,
        "UPDATE ledger_events SET fingerprint = '\\x0102' WHERE sale_id = $1 AND sequence = 3",
    )


async def unknown_entry(sale: JudgedSale) -> None:
    await sale.redis.xadd(sale.key("outbox"), {"event": "{}"}, id="7-1")


async def wrong_total(sale: JudgedSale) -> None:
    await sale.redis.hincrby(sale.key("meta"), "available:2", 1)  # the cap lies at two locations


async def stuck_hold(sale: JudgedSale) -> None:
    await sale.reserve("stuck", 1, 0, 1, hold_milliseconds=1)
    await sale.apply()


NEXT_EPOCH = (
    "INSERT INTO ledger_events SELECT sale_id, partition, 2, 1, type, NULL, occurred_at, "
    "fingerprint, payload, block FROM ledger_events WHERE sale_id = $1 AND sequence = 2"
)
DROP_HELD_ROWS = (
    (
        "DELETE FROM order_lines USING reservations r "
        "WHERE order_lines.reservation_id = r.reservation_id AND r.state = 'held'"
    ),
    "DELETE FROM reservations WHERE state = 'held'",
)
GROW_HELD_LINES = (
    "UPDATE order_lines SET quantity = 99 FROM reservations r "
    "WHERE order_lines.reservation_id = r.reservation_id AND r.state = 'held'"
)

CASES = (
    Case("redis stores another total", 1, "by location", wrong_total),
    Case("redis makes a unit", 1, "accounted for", in_stock(available=1)),
    Case("redis sells below the floor", 1, "floor 0", in_stock(available=-50, sold=50)),
    Case("redis holds less than nothing", 1, "held -", in_stock(available=5, held=-5)),
    Case("ledger makes a unit", 1, "ledger, partition",
         in_ledger("UPDATE stock_accounts SET available = available + 1 WHERE sale_id = $1")),
    Case("an account was below its floor", 1, "shirt at default with",
         in_ledger("UPDATE stock_accounts SET floor = 9 WHERE sale_id = $1 AND sku = 'shirt'")),
    Case("an item was below its floor", 1, "cap with 4 available over its locations",
         in_ledger("UPDATE sale_items SET floor = 5 WHERE sale_id = $1 AND sku = 'cap'")),
    Case("a row without an event", 2, "without a reserve event",
         in_ledger("DELETE FROM ledger_events WHERE sale_id = $1 AND sequence = 3")),
    Case("an event without a row", 2, "without a row",
         in_ledger(*DROP_HELD_ROWS)),
    Case("accepted twice", 3, "accepted 2 times", event("reserve", "reserve")),
    Case("over the limit now", 4, "holds or owns 99",
         in_ledger(GROW_HELD_LINES)),
    Case("over the limit once", 4, "had 4 of shirt",
         in_ledger("UPDATE sale_items SET per_buyer_limit = 3 WHERE sku = 'shirt'")),
    Case("resolved twice", 5, "confirm, cancel", event("cancel", "confirm", actor="x")),
    Case("returned twice", 5, "below zero",
         event("return_units", "confirm", restock=True, reason="", return_key="", fingerprint="")),
    Case("confirmed after the deadline", 5, "after its deadline",
         in_ledger("UPDATE ledger_events SET payload = jsonb_set(payload::jsonb, '{occurred_at}', "
                   "'99999999999999') WHERE sale_id = $1 AND type = 'confirm'")),
    Case("expired before the deadline", 5, "before its deadline",
         in_ledger("UPDATE ledger_events SET payload = jsonb_set(payload::jsonb, '{occurred_at}', "
                   "'1') WHERE sale_id = $1 AND type = 'expire'")),
    Case("extended after the deadline", 5, "extend of",
         in_ledger("UPDATE ledger_events SET payload = jsonb_set(payload::jsonb, '{occurred_at}', "
                   "'99999999999999') WHERE sale_id = $1 AND type = 'extend'")),
    Case("reserved without an admission", 9, "spent admission none",
         in_ledger("UPDATE ledger_events SET payload = payload::jsonb - 'admission' "
                   "WHERE sale_id = $1 AND type = 'reserve' AND sequence = 3")),
    Case("a row with another admission", 9, "its row says 777",
         in_ledger("UPDATE reservations SET admission = 777 WHERE state = 'held'")),
    Case("an admission spent twice", 9, "after",
         event("reserve", "reserve", reservation_id="again")),
    Case("redis forgot what was spent", 7, "buyer canceller: admission spent None", forget_spent),
    Case("a hole in the log", 6, "follows",
         in_ledger("DELETE FROM ledger_events WHERE sale_id = $1 AND sequence = 2")),
    Case("a log beyond the watermark", 6, "ends at", event("set_state", "set_state")),
    Case("an epoch out of nowhere", 6, "does not continue a closed epoch", in_ledger(NEXT_EPOCH)),
    Case("a void number", 6, "is void",
         in_ledger("UPDATE ledger_events SET type = 'void' WHERE sale_id = $1 AND sequence = 2")),
    Case("an account that is not its fold", 6, "the account says",
         in_ledger("UPDATE stock_accounts SET available = available - 1, sold = sold + 1 "
                   "WHERE sale_id = $1 AND sku = 'shirt'")),
    Case("a reservation that is not its fold", 6, "the row says",
         in_ledger("UPDATE reservations SET state = 'cancelled' WHERE state = 'held'")),
    Case("a line that is not its fold", 6, "the line says",
         in_ledger(GROW_HELD_LINES)),
    Case("an order that forgot", 6, "missing from the order's history",
         in_ledger("UPDATE ledger_events SET reservation_id = NULL WHERE type = 'confirm'")),
    Case("other bytes in the outbox", 6, "differs between outbox and ledger", other_bytes),
    Case("an outbox beyond its partition", 6, "outbox at 7-1", unknown_entry),
    Case("redis sells one more", 7, "Redis", in_stock(available=-1, sold=1)),
    Case("redis lost a record", 7, "ledger, not in Redis", drop_record),
    Case("redis made up a record", 7, "ledger None", invent_record),
    Case("redis resolved otherwise", 7, "state='cancelled'", resolve_record),
    Case("a hold without a deadline", 7, "deadlines differ", drop_deadline),
    Case("a buyer without a count", 7, "buyer holder: counted {}", forget_buyer),
    Case("a hold without a record", 7, "records hold", in_stock(available=-1, held=1)),
    Case("more loaded than given", 7, "given 10",
         in_ledger("UPDATE stock_accounts SET loaded = loaded + 5, available = available + 5 "
                   "WHERE sale_id = $1 AND sku = 'shirt'")),
    Case("a due hold nobody releases", 8, "due holds not released", stuck_hold),
    Case("a ledger that does not follow", 12, "ledger at",
         in_ledger("UPDATE watermarks SET sequence = sequence - 1 WHERE sale_id = $1")),
    Case("a stopped partition", 12, "is stopped: forked",
         in_ledger("UPDATE watermarks SET stopped_reason = 'forked' WHERE sale_id = $1")),
    Case("a dead letter", 12, "dead letter",
         in_ledger("INSERT INTO dead_letters (identity, sale_id, reason, error, raw) "
                   "VALUES ('x', $1, 'undecodable', 'no JSON', '')")),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
async def test_a_planted_violation_is_found(judged_sale: JudgedSale, case: Case) -> None:
    await case.plant(judged_sale)
    verdict = await judged_sale.verdict()
    finding = verdict.finding(case.invariant)
    assert finding.outcome is Outcome.BROKEN, verdict.to_json()
    assert any(case.says in example for example in finding.examples), finding.examples
    assert not verdict.holds


def attempt(sale: JudgedSale, **changes: object) -> Attempt:
    """The holder's reserve with some fields of the answer changed."""
    honest = Attempt(
        call="reserve", caller="buyer", buyer_id="holder", status=201, started_at=1.0, seconds=0.1,
        key="key", reservation_id=sale.id_of("holder"), owner="holder",
        admission="admission of holder",
    )  # fmt: skip
    return msgspec.structs.replace(honest, **changes)


Lie = Callable[[JudgedSale, History], None]


def told(**changes: object) -> Lie:
    """One more attempt in the history."""

    def lie(sale: JudgedSale, history: History) -> None:
        history.add(attempt(sale, **changes))

    return lie


def lost_answer(sale: JudgedSale, history: History) -> None:
    """An accepted reservation of which the ledger knows nothing."""
    history.add(attempt(sale, buyer_id="ghost", reservation_id=f"{sale.sale_id}.0.{'x' * 22}"))


def nobody_asked(_sale: JudgedSale, history: History) -> None:
    history.attempts = [a for a in history.attempts if a.buyer_id != "holder"]


def only_refused(sale: JudgedSale, history: History) -> None:
    nobody_asked(sale, history)
    history.add(attempt(sale, status=409, code="sold_out", reservation_id="", owner=""))


def unserved_buyers(_sale: JudgedSale, history: History) -> None:
    history.unmet_buyers = 3


def orders_that_vanish(sale: JudgedSale, history: History) -> None:
    for second, shown in ((2.0, (sale.id_of("holder"),)), (3.0, ())):
        listing = {"call": "list", "status": 200, "key": "", "reservation_id": ""}
        history.add(attempt(sale, started_at=second, shown=shown, **listing))


def moving_end(sale: JudgedSale, history: History) -> None:
    for second in (2, 3):
        said = {"call": "read", "status": 200, "key": "", "state": "cancelled"}
        ids = {"buyer_id": "canceller", "reservation_id": sale.id_of("canceller")}
        end = f"2026-11-21T12:00:0{second}.000Z"
        history.add(attempt(sale, started_at=float(second), expires_at=end, **ids, **said))


def taken_back(sale: JudgedSale, history: History) -> None:
    for second, state in enumerate(("expired", "held"), start=2):
        said = {"call": "read", "status": 200, "key": "", "state": state}
        history.add(attempt(sale, started_at=float(second), **said))


def late_first(sale: JudgedSale, history: History) -> None:
    """The reservation that is first in the log was asked for last."""
    history.attempts = [
        msgspec.structs.replace(a, started_at=9.0) if a.buyer_id == "payer" else a
        for a in history_of(sale).attempts
    ]


def refused(code: str, **changes: object) -> Lie:
    """A refusal of one shirt, long after everything else."""
    asked = {"key": "new", "sku": "shirt", "wanted": (("shirt", 1),), "started_at": 9.0}
    return told(
        **{"status": 409, "code": code, "reservation_id": "", "owner": "", **asked, **changes}
    )


LIES: tuple[tuple[str, int, str, Lie], ...] = (
    ("an answer without a row", 2, "0 rows and 0 reserve events", lost_answer),
    ("a row nobody asked for", 2, "no client asked for it", nobody_asked),
    ("confirmed, says the answer", 2, "answered as confirmed, the ledger has it as held",
     told(call="confirm", caller="storefront", status=200, key="")),
    ("expired, says a read", 2, "answered as expired, the ledger has it as held",
     told(call="read", status=200, key="", state="expired")),
    ("expired, says a refusal", 2, "answered as expired, the ledger has it as held",
     told(call="confirm", caller="storefront", status=410, key="", code="hold_expired")),
    ("confirmed, says a list", 2, "answered as confirmed, the ledger has it as held",
     told(call="list", status=200, key="", state="confirmed")),
    ("unknown, says a read", 2, "404", told(call="read", status=404, key="", started_at=9.0)),
    ("an order less", 2, "no longer in the orders", orders_that_vanish),
    ("a known key refused", 3, "sold_out after", refused("sold_out", key="key")),
    ("refused within the limit", 4, "though having 1 at most, limit 4", refused("limit_exceeded")),
    ("expired, then held", 5, "answered held after expired", taken_back),
    ("an end nobody set", 5, "which no event bears out",
     told(call="read", status=200, key="", state="held", expires_at="2026-11-21T12:00:00.000Z")),
    ("an end that moves", 5, "resolved, and answered to end at", moving_end),
    ("the first was asked for last", 6, "though it was asked for after", late_first),
    ("sold out with units left", 8, "could be had all the time", refused("sold_out", buyer_id="x")),
    ("another id for a key", 3, "not ", told(reservation_id="other.0." + "y" * 22, replayed=True)),
    ("fresh twice", 3, "not marked as replays", told()),
    ("units left, buyers without", 8, "units not sold", unserved_buyers),
    ("reserved without a token", 9, "without an admission", told(key="new", admission="")),
    ("a token that led to two", 9, "the admission of buyer payer led to",
     told(key="new", admission="admission of payer")),
    ("another buyer's answer", 10, "answered with data of payer", told(owner="payer")),
    ("another buyer's reservation", 10, "was shown to buyer stranger",
     told(call="read", buyer_id="stranger", status=200, owner="", key="")),
    ("503 without Retry-After", 11, "without Retry-After",
     told(status=503, code="recovering", reservation_id="", owner="")),
    ("refused, and done", 11, "refused every time", only_refused),
)  # fmt: skip


@pytest.mark.parametrize(
    ("invariant", "says", "lie"),
    [pytest.param(*rest, id=name.replace(" ", "_")) for name, *rest in LIES],
)
async def test_a_history_that_contradicts_is_found(
    judged_sale: JudgedSale, invariant: int, says: str, lie: Lie
) -> None:
    history = history_of(judged_sale)
    lie(judged_sale, history)
    finding = (await judged_sale.verdict(history)).finding(invariant)
    assert finding.outcome is Outcome.BROKEN, finding
    assert any(says in example for example in finding.examples), finding.examples


async def test_own_holds_shown_to_another_buyer_are_found(judged_sale: JudgedSale) -> None:
    history = history_of(judged_sale)
    refusal = attempt(judged_sale, status=409, code="sold_out", reservation_id="", owner="")
    holds = (judged_sale.id_of("payer"),)
    history.add(msgspec.structs.replace(refusal, key="other", shown=holds))
    finding = (await judged_sale.verdict(history)).finding(10)
    assert finding.outcome is Outcome.BROKEN
    assert "was shown to buyer holder" in finding.examples[0]
