"""A script that writes does so only for the trusted server run and the current epoch."""

import pytest

from tests.support.scripts.calls import FENCED, arguments, prepare
from tests.support.scripts.harness import RUN_ID, Rig

RUN = RUN_ID.encode()
STRANGERS = {
    "another run": (b"b" * 40, b"1"),
    "no run": (b"", b"1"),
    "a longer run": (RUN + b"a", b"1"),
    "an older epoch": (RUN, b"0"),
    "a newer epoch": (RUN, b"2"),
    "nearly the epoch": (RUN, b"1.5"),
    "no epoch": (RUN, b""),
    "an epoch that is no number": (RUN, b"nan"),
    "a negative epoch": (RUN, b"-1"),
}


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("name", FENCED)
def test_writes_nothing_for_anyone_else(rig: Rig, name: str, who: tuple[bytes, bytes]) -> None:
    prepare(rig)
    valid = arguments(rig, name)
    with rig.unchanged():
        answer = rig.raw(name, *who, *valid[2:])
    if name == "load" and answer.status == "malformed":
        return  # an epoch no partition could begin with
    assert answer.status == "fenced"
    assert answer.detail == 1
    assert answer.wall_ms is (who[0] == RUN)


@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("name", FENCED)
def test_nor_for_a_caller_who_says_too_little(rig: Rig, name: str, given: int) -> None:
    prepare(rig)
    valid = arguments(rig, name)
    with rig.unchanged():
        assert rig.raw(name, *valid[:given]).status in {"fenced", "malformed"}
