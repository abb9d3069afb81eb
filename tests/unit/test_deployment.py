"""The compose file, the image, Prometheus and Grafana agree with the code, as far as no engine is
needed to see it.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from config.cli import app
from config.settings import Settings
from config.sources import PREFIX
from gateway.api.contract.bodies import BODY_TIMEOUT_SECONDS, SPEC_MAX_BYTES
from gateway.api.metrics.catalogue import GatewayMetrics, exposition
from gateway.api.operations.asking import WAIT_SECONDS as RECONCILIATION_SECONDS
from gateway.api.operations.gauges import Reading
from gateway.relay.metrics import RelayMetrics
from order_writer.metrics import WriterMetrics
from reconciler.keeping.metrics import ReconcilerMetrics
from tests.unit.promtool import promtool

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
COMPOSE: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "dropgate"}
PROMETHEUS: dict[str, Any] = yaml.safe_load(
    (CONFIG / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
)
DASHBOARD: dict[str, Any] = json.loads((CONFIG / "grafana" / "dropgate.json").read_text())
NGINX = (CONFIG / "nginx" / "dropgate.conf").read_text(encoding="utf-8")
HTTP_API = (ROOT / "docs" / "reference" / "http_api.md").read_text(encoding="utf-8")
# Numbers as the pages spell them.
NUMBERS = {2.0: "two", 5.0: "five", 10.0: "ten"}
IMAGE = (CONFIG / "container" / "Dockerfile").read_text(encoding="utf-8")


def shown_metrics(tmp_path: Path) -> set[str]:
    """The name of every series in the catalogue."""
    gateway = GatewayMetrics(tmp_path, 0)
    try:
        text = exposition(gateway, Reading([], {}, {})).decode()
    finally:
        gateway.close()
    text += "".join(
        exposition(registry).decode()
        for registry in (
            RelayMetrics().registry,
            WriterMetrics().registry,
            ReconcilerMetrics().registry,
        )
    )
    shown: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        shown |= {name + suffix for suffix in suffixes}
    return shown


def commands() -> set[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return set(group.commands)


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_runs_a_command_with_settings_there_are(name: str) -> None:
    service = OURS[name]
    assert service["command"][0] in commands()
    tree = Settings().model_dump()
    for variable in service["environment"]:
        section, _, setting = variable.removeprefix(PREFIX).lower().partition("__")
        assert variable.startswith(PREFIX)
        assert setting in tree[section], variable


def test_every_process_has_a_container() -> None:
    assert {service["command"][0] for service in OURS.values()} == {
        *("migrate", "gateway", "relay", "order-writer", "reconciler")
    }


def test_what_containers_wait_for_and_mount_is_there() -> None:
    volumes = set(COMPOSE["volumes"])
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert source in volumes or (CONFIG / source).exists(), mount


def test_no_container_is_open_to_the_network() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_scrapes_every_process() -> None:
    done = promtool("check", "config", str(CONFIG / "prometheus" / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    targets = {
        target
        for job in PROMETHEUS["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    ports = {
        name: service["environment"].get("DROPGATE_METRICS__PORT", "8080")
        for name, service in OURS.items()
        if name != "migrate"
    }
    assert targets == {f"{name}:{port}" for name, port in ports.items()}


def test_the_image_is_made_of_files_that_are_there() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", IMAGE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= set(copied)
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_has_the_versions_that_are_tested() -> None:
    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", path.read_text(), re.MULTILINE))

    image = pins(CONFIG / "container" / "requirements.lock")
    assert {pin.partition("==")[0] for pin in image} >= {"aiohttp", "asyncpg", "redis", "aiokafka"}
    assert image <= pins(ROOT / "requirements.lock")


def test_every_metric_of_the_dashboard_is_shown(tmp_path: Path) -> None:
    shown = shown_metrics(tmp_path)
    expressions = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    expressions += [variable.get("definition", "") for variable in DASHBOARD["templating"]["list"]]
    named = {
        name for expression in expressions for name in re.findall(r"\bdropgate_\w+", expression)
    }
    assert len(named) >= 15
    assert not named - shown


def test_every_panel_says_what_it_shows() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert all(panel["title"] and panel["description"] for panel in panels)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def directives(block: str) -> dict[str, str]:
    """The directives that stand in the first block of nginx's configuration of that name."""
    (body,) = re.findall(rf"^{block} {{\n(.*?)^}}", NGINX, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^ {4}(\w+) ([^;{]+);", body, re.MULTILINE))


def seconds(value: str) -> float:
    return float(value.removesuffix("s"))


def test_the_bounds_of_nginx_suit_those_of_the_gateway() -> None:
    gateway, nginx, upstream = (
        Settings().gateway,
        directives("server"),
        directives("upstream dropgate"),
    )
    assert seconds(nginx["client_header_timeout"]) == gateway.head_timeout_seconds
    assert seconds(nginx["keepalive_timeout"]) == gateway.keepalive_timeout_seconds
    assert seconds(upstream["keepalive_timeout"]) < gateway.keepalive_timeout_seconds
    assert seconds(nginx["client_body_timeout"]) > BODY_TIMEOUT_SECONDS
    assert seconds(nginx["send_timeout"]) > gateway.unread_timeout_seconds
    assert seconds(nginx["proxy_read_timeout"]) > RECONCILIATION_SECONDS
    assert nginx["client_max_body_size"] == f"{SPEC_MAX_BYTES // 1024}k"
    assert nginx["listen"] == f"80 backlog={gateway.backlog}"


def test_the_comments_and_pages_say_the_bounds_there_are() -> None:
    """A changed default is changed in each place that names it."""
    gateway, upstream = Settings().gateway, directives("upstream dropgate")
    for bound in (
        f"gateway.keepalive_timeout_seconds ({gateway.keepalive_timeout_seconds:g})",
        f"gateway.unread_timeout_seconds ({gateway.unread_timeout_seconds:g})",
        f"{BODY_TIMEOUT_SECONDS:g} s for a whole body",
        f"over {gateway.max_body_bytes // 1024} KiB",
        f"the {RECONCILIATION_SECONDS:g} s that a reconciliation may take",
    ):
        assert bound in NGINX, bound
    overload = (ROOT / "docs/operating/overload.md").read_text(encoding="utf-8")
    assert f"`keepalive_timeout {upstream['keepalive_timeout']}`" in overload
    kept = gateway.keepalive_timeout_seconds
    assert f"`gateway.keepalive_timeout_seconds`, {kept:g})" in overload
    assert f"idle for {kept:g} seconds" in HTTP_API
    assert f"whole within {NUMBERS[gateway.head_timeout_seconds]} seconds" in HTTP_API
    assert f"answers within {NUMBERS[gateway.unread_timeout_seconds]} seconds" in HTTP_API
    sizes = f"{gateway.max_body_bytes // 1024} KiB (`PUT` of a sale: {SPEC_MAX_BYTES // 1024} KiB)"
    assert sizes in HTTP_API
    described = type(gateway).model_fields["max_body_bytes"].description
    assert str(SPEC_MAX_BYTES) in (described or "")
