"""The documentation agrees with the code: links lead somewhere, and nothing is left out."""

import json
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import typer
from typer.core import TyperGroup

from config.cli import app
from config.reference import filled
from config.settings import Settings
from gateway.api.contract.endpoints import Endpoint
from gateway.api.contract.problems import CATALOGUE
from gateway.api.metrics.catalogue import ROUTES, GatewayMetrics
from gateway.api.operations.gauges import Reading
from gateway.api.operations.room_gauges import QueueReading
from gateway.inventory.events import Event, decode_event
from gateway.process.audit import AuditAction
from gateway.relay.metrics import RelayMetrics
from lua.loader import load_scripts
from order_writer.metrics import WriterMetrics
from reconciler.comparing.differences import Kind
from reconciler.keeping.metrics import ReconcilerMetrics
from tests.support.endpoints import api_endpoints

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")))

_FENCE = re.compile(r"^(`{3,}).*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_FILE = re.compile(
    r"`((?:config|docs|gateway|loadtest|lua|order_writer|reconciler|tests)/[a-z0-9_./-]*)[`:#\s]"
)
_JSON_BLOCK = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \|", re.MULTILINE)
_CREATED = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its code, where brackets mean nothing."""
    return _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The fragments that lead to a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


def reference(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def setting_names() -> set[str]:
    return {f"{section}.{name}" for section, of in Settings() for name in type(of).model_fields}


def endpoint_rows() -> list[str]:
    """The row of http_api.md for each call."""
    return [
        f"| `{endpoint.method} {endpoint.path}` | "
        f"{', '.join(endpoint.scopes) if isinstance(endpoint, Endpoint) else 'no token'} | "
        f"{endpoint.summary} |"
        for endpoint in api_endpoints()
    ]


def command_names(command: object, prefix: str) -> list[str]:
    """`dropgate sale open` and so on, for every command there is."""
    if not isinstance(command, TyperGroup):
        return [prefix]
    return [
        name
        for word, inner in command.commands.items()
        for name in command_names(inner, f"{prefix} {word}")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        missing = fragment and file.suffix == ".md" and fragment not in anchors(file)
        if not file.exists() or missing:
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    named = _FILE.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    assert not [file for file in named if not (ROOT / file).exists()]


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (index, ROOT / "docs" / "decisions" / "README.md")
        for target in _LINK.findall(prose(page))
    }
    generated = ROOT / "docs" / "benchmarks"
    pages = {p for p in PAGES if ROOT / "docs" in p.parents and generated not in p.parents}
    assert not pages - linked - {index}


def test_every_call_is_described() -> None:
    text = reference("http_api.md")
    missing = [row for row in endpoint_rows() if row not in text]
    assert not missing, "\n".join(["http_api.md lacks these rows:", *missing])


def test_every_post_says_what_a_repeat_does() -> None:
    text = reference("http_api.md").partition("## Repeating a call")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `POST ")]
    named = {call: row for row in rows for call in re.findall(r"`POST ([^`]+)`", row)}
    posts = [endpoint for endpoint in api_endpoints() if endpoint.method == "POST"]
    assert sorted(named) == sorted(endpoint.path for endpoint in posts)
    keyed = {
        endpoint.path
        for endpoint in posts
        if isinstance(endpoint, Endpoint)
        and "Idempotency-Key" in endpoint.headers + endpoint.required_headers
    }
    assert {call for call, row in named.items() if "`Idempotency-Key`" in row} == keyed


def test_every_command_is_described() -> None:
    text = reference("commands.md")
    names = command_names(typer.main.get_command(app), "dropgate")
    assert "dropgate up" in names
    rows = [line for line in text.splitlines() if line.startswith("| `dropgate ")]
    assert not [name for name in names if not any(row.startswith(f"| `{name}") for row in rows)]


def test_a_row_of_a_command_has_what_its_help_says() -> None:
    made = filled("<!-- generated: commands queue -->\n<!-- end -->")
    assert "| `dropgate queue rate SALE [PER_SECOND]` | Bound how many buyers" in made
    assert "| `dropgate queue rate PER_SECOND` | no bound | Most buyers per second. |" in made
    assert "| `dropgate queue revoke --reason TEXT` | required | Reason;" in made
    assert "--ready-file" not in made, "all commands over the HTTP API have it"


def test_every_problem_code_is_described() -> None:
    text = reference("http_api.md")
    missing = [
        code for code, kind in CATALOGUE.items() if f"| {kind.status} | `{code}` |" not in text
    ]
    assert not missing


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.name)
def test_generated_tables_are_as_the_code_has_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "make reference writes it anew"


def test_every_setting_is_described_once() -> None:
    described = _SETTING.findall(reference("settings.md"))
    assert sorted(described) == sorted(setting_names())


def test_a_row_of_a_setting_has_its_default_and_its_description() -> None:
    described = type(Settings().gateway).model_fields["backlog"].description
    made = filled("<!-- generated: settings gateway -->\n<!-- end -->")
    assert f"| `gateway.backlog` | `4096` | {described} |\n" in made
    assert "| `gateway.cors_origins` | none |" in made
    assert "| `gateway.pages` | `true` |" in made


def test_every_metric_is_described(tmp_path: Path) -> None:
    metrics = GatewayMetrics(tmp_path, 0)
    try:
        families = (
            *metrics.collect(),
            *Reading([], {}, {}).collect(),
            *QueueReading({}).collect(),
            *WriterMetrics().registry.collect(),
            *RelayMetrics().registry.collect(),
            *ReconcilerMetrics().registry.collect(),
        )
        names = {family.name for family in families}
    finally:
        metrics.close()
    text = reference("metrics.md")
    assert not {name for name in names if f"`{name}" not in text}


def test_every_route_of_the_metrics_is_named() -> None:
    listed = re.search(r"^Routes: (.*?)\.$", reference("metrics.md"), re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(ROUTES)


def test_every_event_type_has_an_example_that_is_one() -> None:
    blocks = _JSON_BLOCK.findall(reference("events.md"))
    # Without spaces and line breaks an example must be what the decoder takes, field by field.
    shown = [decode_event(msgspec.json.encode(json.loads(block))) for block in blocks]
    assert {type(event) for event in shown} == set(get_args(Event))


def test_every_event_type_is_an_edge_of_the_state_machine() -> None:
    text = (ROOT / "docs" / "state_machine.md").read_text(encoding="utf-8")
    names = {str(kind.__struct_config__.tag) for kind in get_args(Event)}
    assert not {name for name in names | set(load_scripts()) if f"`{name}`" not in text}


def test_every_table_is_described() -> None:
    migrations = (ROOT / "order_writer" / "sql" / "migrations").glob("*.sql")
    tables = set(chain.from_iterable(_CREATED.findall(path.read_text()) for path in migrations))
    text = reference("ledger.md")
    assert not {table for table in tables if f"`{table}`" not in text}


def test_every_audit_action_is_described() -> None:
    section = reference("ledger.md").partition("## The audit log\n")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(described) == sorted(AuditAction)


def test_every_kind_of_difference_is_described() -> None:
    text = reference("ledger.md")
    assert not {kind.value for kind in Kind if f"| `{kind.value}` |" not in text}


def test_every_dependency_earns_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in named}
    assert not {name for name in names if f"| {name} |" not in text}


@pytest.mark.parametrize(
    "name", ["data_loss_cases.md", "known_failures.md", "how-to/change_formats.md"]
)
def test_every_case_names_tests_that_exist(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_known_failure_names_a_test() -> None:
    page = (ROOT / "docs" / "known_failures.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| ")][1:]
    assert len(rows) == 18
    assert not [row for row in rows if "::" not in row.rpartition("| ")[2]]
