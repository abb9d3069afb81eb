"""Habits that have one way each (CONTRIBUTING.md): the other ways are found in every module."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("config", "gateway", "loadtest", "lua", "order_writer", "reconciler", "tests")
# The functions that pause and poll for everybody else.
WAITING = "config/waiting.py"


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _called(node: ast.expr | None) -> str:
    """The dotted name of the function that an expression calls; empty for another expression."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _doubles_a_pause(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Mult) and "pause" in ast.unparse(node.target)
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return False
    target = ast.unparse(node.targets[0])
    is_product = any(
        isinstance(child, ast.BinOp) and isinstance(child.op, ast.Mult)
        for child in ast.walk(node.value)
    )
    return "pause" in target and is_product and target in _names(node.value)


def _raises_a_variable(body: list[ast.stmt]) -> bool:
    """Whether a text is named only for the `raise` behind it."""
    for first, second in pairwise(body):
        if (
            isinstance(first, ast.Assign)
            and isinstance(first.value, ast.Constant | ast.JoinedStr)
            and isinstance(second, ast.Raise)
            and isinstance(second.exc, ast.Call)
            and _names(first.targets[0]) & {name for arg in second.exc.args for name in _names(arg)}
        ):
            return True
    return False


def breaches(source: str) -> list[str]:
    """The habits that a module breaks, each with its line."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name | ast.alias):
            name = node.id if isinstance(node, ast.Name) else node.name
            if name == "TYPE_CHECKING":
                found.append(f"{line}: TYPE_CHECKING")
        if isinstance(node, ast.Assign):
            called, targets = _called(node.value), [ast.unparse(t) for t in node.targets]
            if called.endswith(("get_logger", "getLogger")) and targets != ["_log"]:
                found.append(f"{line}: a logger is _log")
            if called == "Queries" and targets != ["QUERIES"]:
                found.append(f"{line}: statements are QUERIES")
        if _doubles_a_pause(node):
            found.append(f"{line}: a growing pause is a Backoff")
        bodies = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
        if any(isinstance(body, list) and _raises_a_variable(body) for body in bodies):
            found.append(f"{line}: a message stands where it is raised")
    return found


def test_no_module_has_another_way() -> None:
    found = []
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name != WAITING:
            found += [f"{name}:{breach}" for breach in breaches(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING",
        "if typing.TYPE_CHECKING:\n    import asyncpg\nfrom typing import TYPE_CHECKING",
        "log = structlog.get_logger()",
        "SQL = Queries(FOLDER)",
        "pause_seconds *= 2",
        "pause = min(2 * pause, 5.0)",
        "def f():\n    message = f'no {x}'\n    raise ValueError(message)",
        "if a:\n    pass\nelse:\n    text = 'no'\n    raise ValueError(text)",
    ],
)
def test_another_way_is_found(source: str) -> None:
    assert breaches(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "_log = structlog.get_logger()",
        "QUERIES = Queries(FOLDER)",
        "pause = backoff.next_seconds()",
        "raise ValueError('no')",
    ],
)
def test_the_one_way_is_no_breach(source: str) -> None:
    assert breaches(source) == []
