"""Imports point one way: who may import whom, checked in every module of the project."""

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("config", "gateway", "loadtest", "lua", "order_writer", "reconciler")

# What everybody may use: it imports nothing of the project.
LEAVES = ("config.queries", "config.waiting")
BASE = ("config.settings", *LEAVES)
DOMAIN = (*BASE, "lua", "gateway.process", "gateway.inventory")

API = (*DOMAIN, "gateway.admission")


def _api(*rooms: str) -> tuple[str, ...]:
    return (*API, *(f"gateway.api.{room}" for room in rooms))


# The rooms of the HTTP API, the lowest first; a room may skip floors downwards and never goes up.
_GROUND = ("contract", "ledger")
_DOMAIN_ROOMS = (*_GROUND, "sales", "metrics", "queue")
_VIEWS = (*_DOMAIN_ROOMS, "reservations", "operations", "description")
ROOMS_OF_API: dict[str, tuple[str, ...]] = {
    "contract": _api(),
    "ledger": _api(),
    "sales": _api(*_GROUND),
    "metrics": _api("contract"),
    "queue": _api(*_GROUND, "sales"),
    "reservations": _api(*_DOMAIN_ROOMS),
    "operations": _api(*_DOMAIN_ROOMS),
    "description": _api("contract"),
    "calls": _api(*_VIEWS),
    "door": (*_api(*_VIEWS, "calls"), "gateway.web"),
    "backends": _api(*_DOMAIN_ROOMS),
    "parts": _api(*_VIEWS, "calls", "door", "backends"),
}


def _loadtest(*rooms: str) -> tuple[str, ...]:
    return tuple(f"loadtest.{room}" for room in rooms)


# What every room of the benchmarks may name: the sale, what was asked for, and who takes part.
_BENCH_WORDS = ("bench.sale", "bench.options", "bench.say", "bench.contestants")
# The rooms of the load tools, the lowest first.
ROOMS_OF_LOADTEST: dict[str, tuple[str, ...]] = {
    "client": (),
    "figures": _loadtest("client"),
    "verdict": _loadtest("client"),
    "verdict.answers": _loadtest("client"),
    "verdict.log": _loadtest("client", "verdict.answers"),
    "verdict.checkers": _loadtest(
        *("client", "verdict.answers", "verdict.log", "verdict.refusals"),
        *("verdict.context", "verdict.finding", "verdict.partition_view"),
    ),
    "lag": _loadtest("figures", "verdict"),
    "report": _loadtest("client", "figures", "verdict"),
    "drop": _loadtest("client", "figures", "lag", "verdict"),
    "crowd": _loadtest("client", "report"),
    "scenarios": _loadtest("crowd"),
    **dict.fromkeys(_BENCH_WORDS, ()),
    "bench.results": (),
    "bench.machine": _loadtest("client", *_BENCH_WORDS),
    "bench.designs": _loadtest("client", *_BENCH_WORDS, "bench.machine"),
    "bench.designs.redis": _loadtest("bench.designs.design", "bench.sale"),
    "bench.designs.postgres": _loadtest(
        "bench.designs.design", "bench.designs.redis.books", "bench.sale"
    ),
    "bench.engine": _loadtest(*_BENCH_WORDS, "bench.machine", "bench.results"),
    "bench.herd": _loadtest("client", *_BENCH_WORDS),
    "bench.http": _loadtest(*_BENCH_WORDS, "bench.results", "bench.machine", "bench.designs"),
    "bench.growth": _loadtest(
        *("client", *_BENCH_WORDS), *("bench.results", "bench.machine", "bench.engine")
    ),
    "bench.parts": _loadtest(
        *("client", "figures", "lag", "verdict"),
        *(*_BENCH_WORDS, "bench.results", "bench.machine"),
        *("bench.designs", "bench.engine", "bench.herd", "bench.http", "bench.growth"),
    ),
    "bench.report": _loadtest("bench.results", "bench.machine", "bench.parts"),
    # The command line, on top of all rooms of the benchmarks.
    "bench": (),
}


def _writer(*rooms: str) -> tuple[str, ...]:
    return (*DOMAIN, *(f"order_writer.{room}" for room in rooms))


# The rooms of the order writer, the lowest first.
ROOMS_OF_WRITER: dict[str, tuple[str, ...]] = {
    "log": _writer(),
    "folding": _writer("log"),
    "ledger": _writer("log", "folding"),
    "writing": _writer("log", "folding", "ledger", "metrics"),
    "letters": _writer("log", "folding", "ledger", "writing"),
    "importing": _writer("log", "folding", "ledger", "writing", "metrics"),
}


def _reconciler(*rooms: str) -> tuple[str, ...]:
    return (*DOMAIN, "reconciler.context", *(f"reconciler.{room}" for room in rooms))


# The rooms of the reconciler, the lowest first; its context is below all of them.
ROOMS_OF_RECONCILER: dict[str, tuple[str, ...]] = {
    "keeping": _reconciler(),
    "comparing": _reconciler(),
    "rebuilding": _reconciler("comparing"),
    "duties": _reconciler("keeping", "comparing", "rebuilding"),
}

# The most specific prefix of a module decides what it may import besides itself.
ALLOWED: dict[str, tuple[str, ...]] = {
    "config.sections": (),
    "config.settings": ("config.sections",),
    **dict.fromkeys(LEAVES, ()),
    "config.sources": BASE,
    "config.ready": BASE,
    "config.hidden": (),
    "config.logs": (*BASE, "config.hidden"),
    "config.stack": BASE,
    "lua": BASE,
    "gateway.process": BASE,
    "gateway.inventory.redis": (
        *BASE,
        "lua",
        "gateway.inventory.errors",
        "gateway.inventory.events",
        "gateway.inventory.keys",
        "gateway.inventory.types",
        "gateway.process.ledger_identity",
    ),
    "gateway.inventory.settled": DOMAIN,
    "gateway.inventory": (*BASE, "lua", "gateway.process"),
    "gateway.admission": DOMAIN,
    # The waiting room knows nothing of tokens, rates and load.
    "gateway.admission.waiting_room": DOMAIN,
    **{f"gateway.api.{room}": rule for room, rule in ROOMS_OF_API.items()},
    # Serving and wiring, on top of all rooms.
    "gateway.api": (*API, "gateway.web", "gateway.api"),
    "gateway.web": (),
    "gateway.relay": DOMAIN,
    "order_writer.metrics": (),
    "order_writer.schema": LEAVES,
    **{f"order_writer.{room}": rule for room, rule in ROOMS_OF_WRITER.items()},
    "order_writer": DOMAIN,
    "reconciler.context": DOMAIN,
    **{f"reconciler.{room}": rule for room, rule in ROOMS_OF_RECONCILER.items()},
    # Trimming asks a waiting room how far it has read.
    "reconciler.duties.trim": (
        *ROOMS_OF_RECONCILER["duties"],
        "gateway.admission.waiting_room.outboxes",
        "reconciler.duties",
    ),
    # Retiring a settled sale removes its waiting room, too.
    "reconciler.duties.retire": (
        *ROOMS_OF_RECONCILER["duties"],
        "gateway.admission.waiting_room.keys",
        "reconciler.duties",
    ),
    "reconciler": DOMAIN,
    # A black box: it sees HTTP, Redis and Postgres, and shares the leaves alone.
    **{f"loadtest.{room}": (*LEAVES, *rule) for room, rule in ROOMS_OF_LOADTEST.items()},
    "loadtest": (*BASE, "config.ready"),
    # The wiring at the top may use everything.
    "config": PACKAGES,
    "config.commands": PACKAGES,
    "config.commands.operations": (
        *("config.client", "config.commands.options", "config.commands.shared"),
        *("gateway.admission.passes", "gateway.admission.waiting_room.draw"),
    ),
}
# More modules than this side by side, and a stranger does not find the room.
MODULES_MAX = 13
# Nobody but the wiring itself imports the wiring.
WIRING = ("config.cli", "config.commands", "config.up", "config.runner", "config.reference")


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
        ("gateway.inventory.store", "from gateway.api import parts"),
        ("gateway.admission.waiting_room.room", "from gateway.admission import tokens"),
        ("gateway.inventory.redis.pool", "from gateway.inventory import store"),
        ("gateway.inventory.settled.retirement", "from gateway.api.sales import settlement"),
        ("gateway.process.postgres", "from gateway.inventory import keys"),
        ("gateway.relay.service", "import order_writer.service"),
        ("order_writer.service", "from reconciler import by_hand"),
        ("order_writer.log.outbox", "from order_writer.folding import items"),
        ("order_writer.folding.fold", "from order_writer.ledger import statements"),
        ("order_writer.ledger.transaction", "from order_writer.writing import faults"),
        ("order_writer.writing.writer", "from order_writer.letters import replay"),
        ("order_writer.letters.topic", "from order_writer import service"),
        ("order_writer.schema", "from order_writer.ledger import statements"),
        ("reconciler.by_hand", "def late():\n    from gateway.admission import tokens"),
        ("reconciler.context", "from reconciler.keeping import notices"),
        ("reconciler.keeping.periodic", "from reconciler.duties import expire"),
        ("reconciler.comparing.compare", "from reconciler.rebuilding import repair"),
        ("reconciler.rebuilding.rebuild", "from reconciler.duties import directory"),
        ("reconciler.duties.window", "from gateway.admission.waiting_room import outboxes"),
        ("reconciler.duties.trim", "from reconciler import service"),
        ("loadtest.drop.demo", "from gateway.inventory import keys"),
        ("loadtest.client.calls", "from loadtest.verdict.run import verify"),
        ("loadtest.bench.machine.gate", "from loadtest.bench.designs.design import Audit"),
        ("loadtest.bench.results.rows", "from loadtest.bench.parts.part import Part"),
        ("loadtest.verdict.checkers.limits", "from loadtest.verdict import run"),
        ("loadtest.bench.designs.redis.books", "from loadtest.bench.designs import catalogue"),
        ("config.commands.operations.top", "from config.commands import services"),
        ("lua.loader", "import gateway.inventory.types"),
        ("config.settings", "import lua"),
        ("order_writer.service", "from config.sections import servers"),
        ("config.stack.redis", "import gateway.inventory"),
        ("config.stack.supervisor", "import config.cli"),
        ("gateway.api.door.app", "import config.cli"),
        ("config.sources", "import config.commands.up"),
    ],
)
def test_the_rule_finds_what_it_forbids(module: str, source: str) -> None:
    assert violations(imports_of(module, source, set())) != []


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other: strongly connected components of two or more."""
    found: list[list[str]] = []
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        path.append(module)
        for imported in sorted(imports.get(module, ())):
            if imported not in numbers:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in path:
                lowest[module] = min(lowest[module], numbers[imported])
        if lowest[module] == numbers[module]:
            circle = path[path.index(module) :]
            del path[path.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in sorted(imports):
        if module not in numbers:
            visit(module)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = _modules()
    imports = {
        module: {item.imported for item in imports_of(module, path.read_text(), set(modules))}
        for module, path in modules.items()
    }
    assert _circles(imports) == []


def test_a_circle_is_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c", "a"}, "c": {"d"}, "d": set()}) == [["a", "b"]]


def test_every_room_has_a_row() -> None:
    """`gateway` itself has no modules, only rooms."""
    packages = {name for name, path in _modules().items() if path.name == "__init__.py"}
    assert packages - set(ALLOWED) == {"gateway"}


def test_every_row_has_a_room() -> None:
    assert set(ALLOWED) - set(_modules()) == set()


def test_a_folder_holds_about_a_dozen_modules() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    scripts = (ROOT / "lua").rglob("*.lua")
    modules = [p for p in (*_modules().values(), *tests, *scripts) if p.name != "__init__.py"]
    sizes = Counter(path.parent for path in modules)
    assert {str(folder): size for folder, size in sizes.items() if size > MODULES_MAX} == {}


def test_a_package_says_what_lives_there_and_costs_nothing_to_import() -> None:
    wrong = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            tree = ast.parse(path.read_text())
            if len(tree.body) != 1 or not ast.get_docstring(tree):
                wrong.append(str(path))
    assert wrong == []
