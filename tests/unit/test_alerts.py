"""The alert rules: over metrics that exist, tested by Prometheus' own tool, explained to people."""

import re
from pathlib import Path

from gateway.api.metrics.catalogue import GatewayMetrics, exposition
from gateway.api.operations.gauges import Reading
from tests.unit.promtool import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
RULES_TESTS = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "operating" / "runbook.md").read_text(encoding="utf-8")

ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", str(FOLDER / "alerts_test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_tests_can_fail(tmp_path: Path) -> None:
    changed = RULES.replace("dropgate_floor_margin) < 0", "dropgate_floor_margin) < -1")
    assert changed != RULES
    (tmp_path / "alerts.yml").write_text(changed)
    (tmp_path / "alerts_test.yml").write_text(RULES_TESTS)
    done = promtool("test", "rules", str(tmp_path / "alerts_test.yml"))
    assert done.returncode != 0
    assert "DropgateOversellSuspected" in done.stdout + done.stderr


def test_every_metric_in_the_rules_is_shown_by_the_gateway(tmp_path: Path) -> None:
    metrics = GatewayMetrics(tmp_path, 0)
    try:
        text = exposition(metrics, Reading([], {}, {})).decode()
    finally:
        metrics.close()
    shown = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    named = set(re.findall(r"\bdropgate_\w+", RULES))
    assert named
    assert not named - shown


def test_every_alert_is_tested_firing_and_quiet() -> None:
    assert len(ALERTS) == len(set(ALERTS)) >= 8
    for alert in ALERTS:
        cases = re.findall(rf"alertname: {alert}\n +exp_alerts:(.*)", RULES_TESTS)
        assert {bool(case.strip()) for case in cases} == {True, False}, alert


def test_every_alert_is_a_heading_of_the_runbook() -> None:
    for alert in ALERTS:
        section = re.search(rf"^### {alert}\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
        assert section is not None, alert
        for part in ("**Meaning.**", "**Check.**", "**Do.**"):
            assert part in section[1], f"{alert}: {part}"
        assert f"runbook: docs/operating/runbook.md#{alert.lower()}\n" in RULES
