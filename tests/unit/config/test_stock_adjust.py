"""`dropgate stock adjust` sends an Idempotency-Key, and names it where the outcome is unknown."""

import re

import pytest
from typer.testing import CliRunner

from config.client import Api, ApiError
from config.commands.operations.sales import stock_app

ARGUMENTS = ["adjust", "drop", "shoe", "5", "--reason", "r", "--url", "http://h", "--token", "t"]


@pytest.mark.parametrize(
    ("code", "is_unknown"), [("", True), ("recovering", True), ("floor_violation", False)]
)
def test_a_call_whose_outcome_is_unknown_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, code: str, *, is_unknown: bool
) -> None:
    keys: list[str | None] = []

    def call(_api: Api, *_call: object, key: str | None = None, **_rest: object) -> None:
        keys.append(key)
        raise ApiError("no answer", code)

    monkeypatch.setattr(Api, "call", call)
    told = CliRunner().invoke(stock_app, ARGUMENTS)
    assert told.exit_code == 1
    named = re.search(r"--key (\S+)", told.output)
    assert (named is not None) is is_unknown
    assert keys[0]
    if named is not None:
        assert named[1] == keys[0]
        CliRunner().invoke(stock_app, [*ARGUMENTS, "--key", named[1]])
        assert keys == [named[1], named[1]]
    else:
        CliRunner().invoke(stock_app, ARGUMENTS)
        assert keys[1] not in {None, keys[0]}
