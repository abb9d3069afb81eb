import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from config.hidden import HideBuyers
from config.settings import LogSettings

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


HIDING = """
import logging, sys
import structlog
from config.logs import configure_logs
from config.settings import LogSettings

configure_logs(
    LogSettings(format=sys.argv[1], buyer_ids="hashed", hash_key="k" * 32), "gateway"
)
log, buyer = structlog.get_logger(), "buyer-" + "in-person"

def fail():
    note = f"nothing for {buyer}"
    error = ValueError(f"no such buyer: {buyer}")
    error.add_note(note)
    raise error

log.warning("refused", buyer_id=buyer, sale_id="drop", detail={"buyer_id": buyer, "n": [1]})
log.warning("failed", error=f"duplicate key\\nDETAIL:  Key (buyer_id)=({buyer}) exists.")
log.warning("failed", error=repr(KeyError(buyer)), reason=f'"{buyer}" is odd')
logging.getLogger("library").warning("Task exception: <Task ValueError('%s')>", buyer)
for each in (log, logging.getLogger("library")):
    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError(f"while serving {buyer}") from error
    except RuntimeError:
        each.exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_hashed_ids_are_nowhere_in_clear(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDING, form], capture_output=True, text=True, check=True
    )
    assert "buyer-in-person" not in done.stderr
    assert done.stderr.count("RuntimeError") >= 2, "what failed, and where, is still told"
    assert done.stderr.count("ValueError") >= 2
    assert "drop" in done.stderr


def test_a_hash_finds_the_same_buyer_again_and_needs_the_key() -> None:
    hide = HideBuyers("k" * 32)
    shown = hide(None, "info", {"buyer_id": "b", "error": "unknown 'b'"})
    assert shown == {"buyer_id": hide.hash_of("b"), "error": f"unknown {hide.hash_of('b')}"}
    assert HideBuyers("l" * 32).hash_of("b") != hide.hash_of("b")


def test_hashing_needs_a_key() -> None:
    with pytest.raises(ValidationError, match="hash_key"):
        LogSettings(buyer_ids="hashed")
