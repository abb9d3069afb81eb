import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
import structlog
from config.logs import configure_logs
from config.settings import LogSettings

configure_logs(LogSettings(format=sys.argv[1]), "gateway")

def fail(token):
    raise ValueError("broken")

structlog.get_logger().info("reserved", action="reserve", sale_id="drop")
for log in (structlog.get_logger(), logging.getLogger("library")):
    try:
        fail("a-secret-" + "token")
    except ValueError:
        log.exception("failed")
logging.getLogger("library").info("chatter")
"""


@pytest.fixture
def logged() -> str:
    return _run("json")


def _run(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True
    )
    assert done.stdout == "", "standard output belongs to the command"
    return done.stderr


def test_json_lines_carry_the_action_the_ids_and_the_process(logged: str) -> None:
    lines = [json.loads(line) for line in logged.splitlines()]
    first = lines[0]
    assert first["event"] == "reserved"
    assert first["action"] == "reserve"
    assert first["sale_id"] == "drop"
    assert first["process"] == "gateway"
    assert first["level"] == "info"
    assert len(lines) == 3, "a library's chatter is left out"
    assert lines[2]["logger"] == "library"
    assert all(line["exception"][0]["exc_value"] == "broken" for line in lines[1:])


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_variable(form: str) -> None:
    text = _run(form)
    assert text.count("ValueError") >= 2
    assert "a-secret-token" not in text
