"""Pages of a whole comparison: a buyer's numbers are complete, however many pages they are on."""

from typing import Any

import pytest

from reconciler.comparing.reading import ADMISSION, GIVEN_BACK
from reconciler.comparing.whole import BUYER, _Page

ITEMS = {1: 1, 2: 2, 3: 2}


def row(buyer: str, state: str, admission: int | None = None) -> Any:
    columns: list[object] = [None] * 12
    columns[1], columns[BUYER], columns[-1] = state, buyer, admission
    return tuple(columns)


RESERVATIONS = [
    (row("ann", "held", 7), [(1, 2, 0, 0)]),
    (row("ann", "confirmed", 9), [(2, 4, 3, 1), (3, 1, 1, 0)]),
    (row("ann", "cancelled", 8), [(1, 5, 0, 0)]),
    (row("bob", "expired"), [(1, 1, 0, 0)]),
    (row("cem", "confirmed"), [(1, 2, 2, 2)]),
]
IMPLIED = {
    "ann": {1: 2, 2: 3, GIVEN_BACK: 1, ADMISSION: 9},
    "bob": {GIVEN_BACK: 1},
    "cem": {},
}


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_each_buyer_comes_once_with_all_numbers(size: int) -> None:
    page, pages = _Page(), []
    for number, (first, lines) in enumerate(RESERVATIONS):
        if len(page.rows) >= size:
            full, page = page, page.next_page(first[BUYER])
            pages.append(full)
        page.add(str(number), first, lines, ITEMS)
    pages.append(page)
    assert all(len(page.rows) <= size for page in pages)
    assert [token for page in pages for token in page.rows] == ["0", "1", "2", "3", "4"]
    buyers = [(buyer, numbers) for page in pages for buyer, numbers in page.numbers.items()]
    assert buyers == list(IMPLIED.items())
