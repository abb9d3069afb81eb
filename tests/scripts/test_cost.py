"""A call costs Redis what its lines cost, however large the sale is."""

from collections.abc import Callable

import pytest

from tests.support.scripts.cost import Cost, cost_of
from tests.support.scripts.harness import HOUR_MS, Rig
from tests.support.scripts.sale import Ask, Item, Lines, Sale
from tests.support.scripts.state import run

MANY_ITEMS, MANY_LOCATIONS = 1000, 50
# A SKU's number and a sum of units may have more digits in the larger sale.
SLACK_BYTES = 64

# Each call is made in a sale in which `a` is held and `b` is confirmed.
CALLS: dict[str, Callable[[Rig], object]] = {
    "reserve": lambda rig: rig.reserve(Ask("n", "new", (("sku-001", 1),))),
    "sold out": lambda rig: rig.reserve(Ask("n", "new", (("sku-001", 1000),))),
    "confirm": lambda rig: rig.confirm("a"),
    "cancel": lambda rig: rig.cancel("a"),
    "extend": lambda rig: rig.extend("a", 1000),
    "read": lambda rig: rig.read("a"),
    "return_units": lambda rig: rig.return_units("b"),
    "adjust": lambda rig: rig.adjust("sku-001", 1),
    "set_state": lambda rig: rig.set_state("paused", "sku-001"),
    "trim": lambda rig: rig.trim(1),
}


def _items(count: int, locations: int = 1) -> tuple[Item, ...]:
    stock = (("default", 500), *((f"place-{n:02}", 500) for n in range(1, locations)))
    return tuple(Item(f"sku-{n:03}", stock=stock, limit=1000) for n in range(1, count + 1))


def _cost(rig: Rig, items: tuple[Item, ...], call: Callable[[Rig], object]) -> Cost:
    rig.open(Sale(items=items))
    rig.hold("a", (("sku-001", 1),))
    rig.hold("b", (("sku-001", 1),), buyer="bob")
    rig.confirm("b")
    found = cost_of(rig.client, lambda: call(rig))
    rig.client.flushall()
    return found


@pytest.mark.parametrize("name", CALLS)
def test_a_call_in_a_sale_of_many_items(rig: Rig, name: str) -> None:
    small = _cost(rig, _items(1), CALLS[name])
    large = _cost(rig, _items(MANY_ITEMS), CALLS[name])
    assert (large.commands, large.arguments) == (small.commands, small.arguments)
    assert large.bytes_read <= small.bytes_read + SLACK_BYTES


def test_the_expiry_of_a_hold_in_a_sale_of_many_items(rig: Rig) -> None:
    def expire(rig: Rig) -> None:
        rig.advance(HOUR_MS)
        assert rig.expire()[0] == 1

    small, large = _cost(rig, _items(1), expire), _cost(rig, _items(MANY_ITEMS), expire)
    assert (large.commands, large.arguments) == (small.commands, small.arguments)
    assert large.bytes_read <= small.bytes_read + SLACK_BYTES


def _lines_cost(rig: Rig, stock: tuple[tuple[str, int], ...], wanted: Lines) -> Cost:
    rig.open(Sale(items=(Item("tee", stock=stock, limit=10_000),)))
    return cost_of(rig.client, lambda: rig.reserve(Ask("n", "new", wanted)))


def test_the_lines_of_a_request_share_what_they_read(rig: Rig) -> None:
    def request(count: int) -> Cost:
        rig.open(Sale(items=_items(MANY_ITEMS)))
        lines: Lines = tuple((f"sku-{n:03}", 1) for n in range(1, count + 1))
        found = cost_of(rig.client, lambda: rig.reserve(Ask("n", "new", lines)))
        rig.client.flushall()
        return found

    one, many = request(1), request(64)
    assert many.commands == one.commands
    # A line more: its item and two counters are read, two counters written with their values.
    assert many.arguments == one.arguments + 63 * 7


def test_no_hash_of_a_partition_is_searched_from_its_start(rig: Rig) -> None:
    rig.open(Sale())
    encodings = {run(rig.client, "OBJECT", "ENCODING", key) for key in rig.keys[:4]}
    assert encodings == {b"hashtable"}


def _places(count: int, units: int) -> tuple[tuple[str, int], ...]:
    return tuple((f"place-{n:02}", units) for n in range(count))


def test_a_line_without_location_reads_no_further_than_where_it_is_placed(rig: Rig) -> None:
    few = _lines_cost(rig, _places(16, 10), (("tee", 1),))
    rig.client.flushall()
    many = _lines_cost(rig, _places(MANY_LOCATIONS, 10), (("tee", 1),))
    assert (many.commands, many.arguments) == (few.commands, few.arguments)


def test_what_is_sold_out_is_known_from_one_number(rig: Rig) -> None:
    one = _lines_cost(rig, _places(2, 0), (("tee", 1),))
    rig.client.flushall()
    many = _lines_cost(rig, _places(MANY_LOCATIONS, 0), (("tee", 1),))
    assert (many.commands, many.arguments) == (one.commands, one.arguments)


def test_the_requests_of_a_batch_share_what_they_read(rig: Rig) -> None:
    lines: Lines = tuple((f"sku-{n:03}", 1000) for n in range(1, 65))

    def batch(count: int) -> Cost:
        rig.open(Sale(items=_items(MANY_ITEMS)))
        asks = [Ask(f"n{n}", f"buyer-{n}", lines) for n in range(count)]
        found = cost_of(rig.client, lambda: rig.reserve(*asks))
        rig.client.flushall()
        return found

    one, many = batch(1), batch(8)
    assert many.commands == one.commands
    assert many.arguments <= one.arguments + 2 * 7  # a token and a buyer for each request more
