"""The guides name the code as it is: each path, each name in a file, each target and each test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "explanation" / "follow_a_reservation.md")
FOLDERS = ("config", "docs", "gateway", "loadtest", "lua", "order_writer", "reconciler", "tests")

# A path in the repository; a part in capitals (`lua/NAME.lua`) stands for the new file's own name.
_PATH = re.compile(
    rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*|[A-Z]+\.md|Makefile|pyproject\.toml|\.luacheckrc)(?=`|::)"
)
_PLACEHOLDER = re.compile(r"(?<![A-Za-z])(?:NAME|NNNN)(?![A-Za-z])")
# `path` · `name`, `name`
_NAMED = re.compile(r"`([\w./-]+)`\s·\s((?:`[\w.]+`(?:,\s|\sand\s)?)+)")
_TEST = re.compile(r"`(tests/[\w./-]+\.py)::(\w+)`")
_CODE = re.compile(r"^```\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
_PYTEST = re.compile(r"\b(tests/[\w./-]+)(?:::(\w+))?")
_TARGETS = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_LUA = re.compile(r"^local (?:function )?([\w, ]+?)(?:\(| =|$)", re.MULTILINE)
_SQL = re.compile(r"^-- name: (\w+)", re.MULTILINE)


class Named(NamedTuple):
    """A name that a guide says is in a file."""

    file: str
    name: str


def paths_of(page: str) -> list[str]:
    """Every path that a page names."""
    return _PATH.findall(page)


def names_of(page: str) -> list[Named]:
    """Every function, class, method, statement and test that a page names with its file."""
    found = [Named(*pair) for pair in _TEST.findall(page)]
    for file, names in _NAMED.findall(page):
        found += [Named(file, name) for name in re.findall(r"`([\w.]+)`", names)]
    return found


def code_of(page: str) -> str:
    """What a page shows as code."""
    return "\n".join(block or span for block, span in _CODE.findall(page))


def _python_names(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """Functions, classes and assigned names of a module, and those of its classes by `Class.`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from _python_names(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            yield from (prefix + each.id for each in node.targets if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id


def names_in(file: Path) -> set[str]:
    """What a file defines: Python by its syntax, Lua by `local`, SQL by `-- name:`."""
    text = file.read_text(encoding="utf-8")
    match file.suffix:
        case ".py":
            return set(_python_names(ast.parse(text)))
        case ".lua":
            return {name for names in _LUA.findall(text) for name in names.split(", ")}
        case ".sql":
            return set(_SQL.findall(text))
    raise ValueError(f"{file}: no names are known of such a file")


def is_there(path: str) -> bool:
    """Whether a path exists; of a file that is still to be written: its folder."""
    new = _PLACEHOLDER.search(path)
    if new is not None:
        return (ROOT / path[: new.start()].rpartition("/")[0]).is_dir()
    return (ROOT / path).exists()


def wrong(page: str) -> list[str]:
    """What a page names and the repository lacks."""
    found = [path for path in paths_of(page) if not is_there(path)]
    for file, name in names_of(page):
        if _PLACEHOLDER.search(file):
            continue
        path = ROOT / file
        if not path.is_file() or name not in names_in(path):
            found.append(f"{file} · {name}")
    code = code_of(page)
    targets = set(_TARGETS.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    found += [f"make {target}" for target in _MAKE.findall(code) if target not in targets]
    found += [path for path, _ in _PYTEST.findall(code) if not is_there(path)]
    return sorted(set(found))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_what_a_guide_names_is_there(guide: Path) -> None:
    page = guide.read_text(encoding="utf-8")
    assert len(paths_of(page)) > 40, "the patterns read the page"
    assert len(names_of(page)) > 20, "the patterns read the page"
    assert wrong(page) == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_dot_between_a_file_and_a_name_is_read(guide: Path) -> None:
    page = guide.read_text(encoding="utf-8")
    assert page.count("` · ") + page.count("` ·\n") == len(_NAMED.findall(page))


@pytest.mark.parametrize(
    ("page", "missing"),
    [
        ("`gateway/inventory/stores.py`", "gateway/inventory/stores.py"),
        ("`lua/nowhere/NAME.lua`", "lua/nowhere/NAME.lua"),
        ("`HELP.md`", "HELP.md"),
        (
            "`gateway/inventory/store.py` · `ReservationStore`, `ReservationStore.lend`",
            "gateway/inventory/store.py · ReservationStore.lend",
        ),
        (
            "`lua/reservations/reserve.lua` · `hold` and `lend`",
            "lua/reservations/reserve.lua · lend",
        ),
        (
            "`gateway/api/ledger/sql/orders.sql` ·\n`orders_of_nobody`",
            "gateway/api/ledger/sql/orders.sql · orders_of_nobody",
        ),
        (
            "`tests/unit/test_docs.py::test_nothing`",
            "tests/unit/test_docs.py · test_nothing",
        ),
        ("```\nmake coffee\n```", "make coffee"),
        ("```\npython -m pytest tests/unit/test_none.py\n```", "tests/unit/test_none.py"),
    ],
)
def test_what_is_missing_is_found(page: str, missing: str) -> None:
    assert wrong(page) == [missing]


@pytest.mark.parametrize(
    "page",
    [
        "`lua/NAME.lua`, `order_writer/sql/migrations/NNNN_NAME.sql`, `Makefile`",
        "`gateway/inventory/store.py` · `ReservationStore.reserve` and `FIRST_EPOCH`",
        "`lua/include/record.lua` · `DEADLINE`, `count_of`",
        "`gateway/api/ledger/sql/orders.sql` · `orders_of_buyer`",
        "`tests/unit/test_docs.py::test_links_lead_somewhere`",
        "```\nmake check\n.venv/bin/python -m pytest tests/unit/test_docs.py\n```",
    ],
)
def test_what_is_there_is_not_reported(page: str) -> None:
    assert wrong(page) == []
