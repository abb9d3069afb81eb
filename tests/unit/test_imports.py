"""Imports point one way: who may import whom, checked in every module of the project."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("config", "gateway", "loadtest", "lua", "order_writer", "reconciler")

# What everybody may use: it imports nothing of the project.
LEAVES = ("config.queries", "config.waiting")
BASE = ("config.settings", *LEAVES)
_WORDS = ("errors", "events", "keys")
DOMAIN = (*BASE, "lua", "gateway.process", "gateway.inventory")

# The most specific prefix of a module decides what it may import besides itself.
ALLOWED: dict[str, tuple[str, ...]] = {
    "config.settings": (),
    **dict.fromkeys(LEAVES, ()),
    "config.sources": BASE,
    "config.ready": BASE,
    "config.hidden": (),
    "config.logs": (*BASE, "config.hidden"),
    "config.stack": BASE,
    "config.supervisor": (*BASE, "config.stack"),
    "lua": BASE,
    "gateway.process": BASE,
    "gateway.inventory.redis": (
        *BASE,
        "lua",
        "gateway.inventory.errors",
        "gateway.inventory.events",
        "gateway.inventory.keys",
    ),
    "gateway.inventory": (*BASE, "lua", "gateway.process"),
    "gateway.admission": DOMAIN,
    "gateway.api": (*DOMAIN, "gateway.admission", "gateway.web"),
    "gateway.web": (),
    "gateway.relay": DOMAIN,
    "order_writer": DOMAIN,
    # Trimming asks a waiting room how far it has read.
    "reconciler.trim": (*DOMAIN, "gateway.admission.waiting_room.outboxes", "reconciler"),
    "reconciler": DOMAIN,
    # A black box: it sees HTTP, Redis, Postgres and settings.
    "loadtest": (*BASE, "config.ready"),
    # The reference gateways of the benchmarks are built on the project's own settings and stack.
    "loadtest.bench": (*BASE, "config.ready", "config.stack", "loadtest"),
    # The wiring at the top may use everything.
    "config": PACKAGES,
}
# Nobody but the wiring itself imports the wiring.
WIRING = ("config.cli", "config.commands", "config.up", "config.runner", "config.folder")


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    line: int
    imported: str


def _within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def _rule(module: str) -> str:
    return max((prefix for prefix in ALLOWED if _within(module, prefix)), key=len)


def _modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, source: str, modules: set[str]) -> list[Import]:
    """Every import of a project module, wherever in the file it stands."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            base = node.module or ""
            names = [
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
                for alias in node.names
            ]
        else:
            continue
        found += [
            Import(module, node.lineno, name) for name in names if name.split(".")[0] in PACKAGES
        ]
    return found


def violations(imports: list[Import]) -> list[str]:
    found = []
    for item in imports:
        rule = _rule(item.module)
        is_wiring = any(_within(item.module, prefix) for prefix in WIRING)
        is_allowed = _within(item.imported, rule) or any(
            _within(item.imported, prefix) for prefix in ALLOWED[rule]
        )
        imports_wiring = any(_within(item.imported, prefix) for prefix in WIRING)
        if not is_allowed or (imports_wiring and not is_wiring):
            found.append(f"{item.module}:{item.line} imports {item.imported}")
    return found


def test_imports_point_one_way() -> None:
    modules = _modules()
    assert len(modules) > 30, "the rule looks at the real project"
    found = [
        violation
        for module, path in sorted(modules.items())
        for violation in violations(imports_of(module, path.read_text(), set(modules)))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gateway.inventory.store", "from gateway.api import routes"),
        ("gateway.inventory.redis.pool", "from gateway.inventory import store"),
        ("gateway.process.postgres", "from gateway.inventory import keys"),
        ("gateway.relay.service", "import order_writer.service"),
        ("order_writer.service", "from reconciler import duty"),
        ("reconciler.duty", "def late():\n    from gateway.admission import tokens"),
        ("loadtest.demo", "from gateway.inventory import keys"),
        ("lua.loader", "import gateway.inventory.types"),
        ("config.settings", "import lua"),
        ("config.stack.redis", "import gateway.inventory"),
        ("config.supervisor", "import config.cli"),
        ("gateway.api.app", "import config.cli"),
        ("config.sources", "import config.commands.up"),
    ],
)
def test_the_rule_finds_what_it_forbids(module: str, source: str) -> None:
    assert violations(imports_of(module, source, set())) != []


def test_packages_cost_nothing_to_import() -> None:
    filled = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
        if path.read_text().strip()
    ]
    assert filled == []
