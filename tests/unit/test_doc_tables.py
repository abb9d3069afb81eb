"""A row of a table is found by search, so it is understood without the rows around it."""

import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")))

_FENCE = re.compile(r"^(`{3,}).*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(\|.*\|)\n\|[-|: ]+\|$", re.MULTILINE)
_CELL_END = re.compile(r"(?<!\\)\|")
# "the same key" names what is the same; "the same" alone, or "the same with …", is another row's.
_LEANS = re.compile(
    r"\bthe same\b(?= *(?:$|[^\w ]|(?:as|with|but|there|here)\b))"
    r"|\b(?:as|see|(?:of )?the(?: one| two| three| row| rows)?) (?:above|below)\b"
    r"|\bditto\b|\blikewise\b"
    r"|^as (?:`[^`]+`|for \w+|before)$",
    re.IGNORECASE,
)


def cells(page: str) -> list[str]:
    """The cells of all tables of a page, headings and rules included."""
    rows = [line for line in _FENCE.sub("", page).splitlines() if line.startswith("|")]
    return [cell.strip() for row in rows for cell in _CELL_END.split(row.strip()[1:-1])]


def headed(page: str) -> list[str]:
    """The first row of each table: the row above the rule."""
    return _HEADING.findall(_FENCE.sub("", page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_cell_leans_on_another_row(page: Path) -> None:
    assert not [cell for cell in cells(page.read_text(encoding="utf-8")) if _LEANS.search(cell)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_column_has_a_heading(page: Path) -> None:
    headings = headed(page.read_text(encoding="utf-8"))
    assert not [heading for heading in headings if "" in cells(heading)]


def test_a_column_without_a_heading_is_found() -> None:
    (heading,) = headed("Text\n\n| what | |\n|---|---|\n| a | |\n")
    assert "" in cells(heading)


@pytest.mark.parametrize(
    "cell",
    [
        "the same",
        "The same; type the id",
        "nothing, the same",
        "the same (`tests/a.py`)",
        "the same as `fsync`",
        "as `fsync`",
        "as above",
        "503; then as above",
        "all of the above",
        "one of the two above",
        "see below",
        "ditto",
    ],
)
def test_a_cell_that_leans_is_found(cell: str) -> None:
    page = f"| what | means |\n|---|---|\n| a | 1 |\n| b | {cell} |\n"
    assert _LEANS.search(cells(page)[-1])


@pytest.mark.parametrize(
    "cell",
    [
        "a retry with the same key",
        "an earlier event of the same reservation",
        "as many as it has",
        "lowering the stock below what was sold",
    ],
)
def test_a_cell_that_names_what_it_means_is_not(cell: str) -> None:
    assert not _LEANS.search(cell)
