"""What several tests share lives in a module of its own: nobody imports a test or a conftest."""

import ast
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# More modules than this side by side, and a stranger does not find the helper.
MODULES_MAX = 13


def is_pytests_own(module: str) -> bool:
    """Whether pytest loads this module by itself: its tests and fixtures are no library."""
    name = module.rpartition(".")[2]
    return module.split(".", maxsplit=1)[0] == "tests" and (
        name == "conftest" or name.startswith("test_")
    )


def forbidden_imports(source: str) -> list[str]:
    """The tests and conftests that a module imports, wherever in the file it does so."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "tests" if node.level else node.module or ""
            found += [base, *(f"{base}.{alias.name}" for alias in node.names if base)]
            if node.level and node.module:
                found.append(f"tests.{node.module}")
    return [name for name in found if is_pytests_own(name)]


def test_no_module_imports_a_test_or_a_conftest() -> None:
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 200, "the rule looks at the real tests"
    found = {
        str(file.relative_to(TESTS)): names
        for file in files
        if (names := forbidden_imports(file.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "from tests.integration.relay.test_relay import buy",
        "from tests.integration.relay import test_relay",
        "import tests.unit.test_docs",
        "from tests.scripts.conftest import server",
        "from .conftest import server",
        "from . import test_docs",
        "def late():\n    from tests.unit.test_docs import prose",
    ],
)
def test_the_rule_finds_what_it_forbids(source: str) -> None:
    assert forbidden_imports(source)


def test_the_rule_allows_helpers() -> None:
    assert forbidden_imports("from tests.support.api import Api\nimport pytest") == []


def test_a_room_of_helpers_holds_about_a_dozen_modules() -> None:
    files = (TESTS / "support").rglob("*.py")
    sizes = Counter(str(file.parent) for file in files if file.name != "__init__.py")
    assert {room: size for room, size in sizes.items() if size > MODULES_MAX} == {}
