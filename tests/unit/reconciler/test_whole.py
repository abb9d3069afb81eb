"""Pages of a whole comparison: a buyer's numbers are complete, however many pages they are on."""

from typing import Any

import pytest

from reconciler.comparing.reading import ADMISSION, GIVEN_BACK, UNPAID, UNPAID_WINDOW
from reconciler.comparing.whole import BUYER, _Page

ITEMS = {1: 1, 2: 2, 3: 2}


def row(buyer: str, state: str, admission: int | None = None, given_back_ms: int = 0) -> Any:
    columns: list[object] = [None] * 13
    columns[1], columns[BUYER], columns[-2], columns[-1] = state, buyer, given_back_ms, admission
    return tuple(columns)


RESERVATIONS = [
    (row("ann", "held", 7), [(1, 2, 0, 0)]),
    (row("ann", "confirmed", 9), [(2, 4, 3, 1), (3, 1, 1, 0)]),
    (row("ann", "cancelled", 8, 2999), [(1, 5, 0, 0)]),
    (row("bob", "expired", None, 4100), [(1, 1, 0, 0)]),
    (row("bob", "cancelled", None, 5900), [(1, 1, 0, 0)]),
    (row("bob", "expired", None, 4999), [(1, 1, 0, 0)]),
    (row("bob", "cancelled", None, 5000), [(1, 1, 0, 0)]),
    (row("cem", "confirmed"), [(1, 2, 2, 2)]),
]
IMPLIED = {
    "ann": {1: 2, 2: 3, GIVEN_BACK: 1, UNPAID: 1, UNPAID_WINDOW: 2, ADMISSION: 9},
    "bob": {GIVEN_BACK: 4, UNPAID: 2, UNPAID_WINDOW: 5},
    "cem": {},
}


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_each_buyer_comes_once_with_all_numbers(size: int) -> None:
    page, pages = _Page(unpaid_window_ms=1000), []
    for number, (first, lines) in enumerate(RESERVATIONS):
        if len(page.rows) >= size:
            full, page = page, page.next_page(first[BUYER])
            pages.append(full)
        page.add(str(number), first, lines, ITEMS)
    pages.append(page)
    assert all(len(page.rows) <= size for page in pages)
    assert [token for page in pages for token in page.rows] == list("01234567")
    buyers = [(buyer, numbers) for page in pages for buyer, numbers in page.numbers.items()]
    assert buyers == list(IMPLIED.items())
