"""The parts of the verdict and of the load that need no server."""

import re
import time
from pathlib import Path

import jwt
import msgspec
import pytest

from gateway.inventory.keys import home_partition, keyed_token
from gateway.inventory.types import ReservationState
from loadtest.client.history import Attempt, History
from loadtest.client.target import mint_token
from loadtest.drop.rush import stock_of
from loadtest.figures import Distribution, accepted_rate
from loadtest.verdict import context
from loadtest.verdict.finding import MOST_EXAMPLES, Outcome, Subject
from loadtest.verdict.ledger import QUERIES, Sale
from loadtest.verdict.partition_view import STATES, Buyer
from loadtest.verdict.run import CHECKERS, Verdict


def attempt(number: int, **changes: object) -> Attempt:
    one = Attempt("reserve", "buyer", f"b{number}", 201, float(number), 0.0, f"k{number}")
    return msgspec.structs.replace(one, reservation_id=f"s.0.{number}", **changes)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_the_verdict_derives_the_same_ids_as_the_gateway(partitions: int) -> None:
    sale = Sale("s", "open", partitions, b"k" * 32, (), has_waiting_room=False)
    for buyer in ("b", "käufer", "b" * 128):
        expected = f"s.{home_partition(buyer, partitions)}.{keyed_token(b'k' * 32, buyer, 'key')}"
        assert context.expected_reservation_id(sale, buyer, "key") == expected


def test_states_have_the_numbers_of_the_scripts() -> None:
    assert {int(state): state.name.lower() for state in ReservationState} == STATES


def test_a_stored_buyer_is_pairs_of_integers_and_then_tokens() -> None:
    packed = msgspec.msgpack.encode([2, 3, 1, 1, "token-b", "token-a"])
    assert Buyer.unpack(packed) == Buyer({2: 3, 1: 1}, frozenset({"token-a", "token-b"}))


def test_there_is_one_checker_per_invariant() -> None:
    modules = [checker.__module__ for checker in CHECKERS]
    assert len(set(modules)) == len(modules) == 12


def test_every_query_is_named_once() -> None:
    path = Path(context.__file__).with_name("queries.sql")
    names = re.findall(r"^-- name: (\w+)$", path.read_text(), re.MULTILINE)
    assert len(names) == len(set(names)) > 30
    assert all(QUERIES[name].endswith(";") for name in names)


def test_a_finding_shows_at_most_ten_examples() -> None:
    finding = Subject(1, "x").judge([str(n) for n in range(50)], "evidence")
    assert finding.outcome is Outcome.BROKEN
    assert len(finding.examples) == MOST_EXAMPLES
    assert "50 violations" in finding.detail


def test_a_verdict_holds_unless_something_is_broken() -> None:
    held = Subject(1, "one").judge([], "fine")
    open_ = Subject(2, "two").not_judged("no evidence")
    broken = Subject(3, "three").judge(["[bold]x[/]"], "bad")
    assert Verdict("s", (held, open_)).holds
    verdict = Verdict("s", (held, open_, broken))
    assert not verdict.holds
    assert msgspec.json.decode(verdict.to_json())["holds"] is False
    assert verdict.table().row_count == 3


def test_a_history_survives_being_written(tmp_path: Path) -> None:
    history = History(complete=True, unmet_buyers=3)
    history.add(attempt(1))
    history.add(attempt(2, status=409, code="sold_out", shown=("s.0.9",)))
    history.write(tmp_path / "h.jsonl")
    again = History.read(tmp_path / "h.jsonl")
    assert (again.complete, again.unmet_buyers) == (True, 3)
    assert again.attempts == history.attempts
    assert again.refusals() == {"sold_out": 1}
    assert list(again.reservations()) == ["s.0.1"]


def test_a_history_has_one_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(complete=True)
    before = history.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert history.now() >= before > 0


def test_percentiles_are_nearest_ranks() -> None:
    assert Distribution.of([]) == Distribution(0, 0.0, 0.0, 0.0)
    assert Distribution.of(range(1, 101)) == Distribution(100, 51, 100, 100)


def test_the_accepted_rate_counts_fresh_answers_only() -> None:
    history = History(complete=True)
    for number in range(11):
        history.add(attempt(number))
        history.add(attempt(number, replayed=True))
    assert accepted_rate(history, units=1000) == pytest.approx(1.0)


def test_tokens_are_what_the_reference_implementation_reads() -> None:
    secret = "s" * 32
    token = mint_token(secret, "buyer", "b1")
    claims = jwt.decode(token, secret, algorithms=["HS256"], audience="dropgate")
    assert (claims["sub"], claims["scope"]) == ("b1", "buyer")


def test_stock_is_read_from_a_sale_file() -> None:
    items = [{"sku": "a", "stock": 5, "floor": 2}, {"sku": "b", "locations": {"n": 1, "s": 2}}]
    found = stock_of(msgspec.json.encode({"items": items, "per_buyer_limit": 3}))
    assert [(item.sku, item.units, item.limit) for item in found] == [("a", 3, 3), ("b", 3, 3)]
