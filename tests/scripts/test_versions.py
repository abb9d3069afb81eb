"""Scripts of two releases at work on one partition, while its processes are replaced one by one."""

from collections.abc import Callable

import msgspec
import pytest

from lua.loader import Script
from tests.support.scripts.harness import HOUR_MS, SCRIPTS, Rig
from tests.support.scripts.sale import Sale, token
from tests.support.scripts.state import run

LATER = "of a later release"
LATER_KEY = -9


def _changed(script: Script) -> Script:
    """The script as another release has it: other bytes, and so another name in Redis."""
    source = script.source + b"-- another release\n"
    return Script(script.name, source, "")


def _record(rig: Rig, name: str) -> list[object]:
    packed = run(rig.client, "HGET", rig.keys[2], token(name))
    return msgspec.msgpack.decode(packed, type=list[object])


def _with_later_place(rig: Rig, name: str) -> None:
    """The reservation's record as a later release keeps it: one place more, and no gap before."""
    record = _record(rig, name)
    record += ["", [], [], []][len(record) - 10 :]
    run(rig.client, "HSET", rig.keys[2], token(name), msgspec.msgpack.encode([*record, LATER]))


def test_each_release_calls_its_own_script_by_the_hash_of_its_bytes(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    loaded = {
        name: run(rig.client, "SCRIPT", "LOAD", _changed(script).source).decode()
        for name, script in SCRIPTS.items()
    }
    assert not set(loaded.values()) & {script.sha for script in SCRIPTS.values()}
    old = dict(rig.scripts)
    new = {name: Script(name, SCRIPTS[name].source, sha) for name, sha in loaded.items()}
    rig.scripts = new
    assert rig.confirm("a").outcome == "confirmed"
    rig.hold("b")
    rig.scripts = old
    assert rig.cancel("b").outcome == "cancelled"
    rig.hold("c")
    rig.scripts = new
    assert rig.cancel("c").outcome == "cancelled"


EDGES: dict[str, Callable[[Rig], object]] = {
    "confirm": lambda rig: rig.confirm("a").outcome,
    "cancel": lambda rig: rig.cancel("a").outcome,
    "extend": lambda rig: rig.extend("a", 1000).outcome,
    "expire": lambda rig: rig.expire()[0],
    "return_units": lambda rig: rig.return_units("a").outcome,
}
DONE = {
    "confirm": "confirmed", "cancel": "cancelled", "extend": "extended", "expire": 1,
    "return_units": "returned",
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_a_record_keeps_the_places_a_script_does_not_know(rig: Rig, edge: str) -> None:
    rig.open(Sale())
    rig.hold("a")
    if edge == "return_units":
        rig.confirm("a")
    _with_later_place(rig, "a")
    before = _record(rig, "a")
    if edge == "expire":
        rig.advance(HOUR_MS)
    assert EDGES[edge](rig) == DONE[edge]
    after = _record(rig, "a")
    assert after != before
    assert after[14:] == [LATER]


def test_a_buyer_keeps_the_numbers_a_script_does_not_know(rig: Rig) -> None:
    rig.open(Sale())
    rig.hold("a")
    packed = run(rig.client, "HGET", rig.keys[3], "ann")
    buyer = msgspec.msgpack.decode(packed, type=list[object])
    later = msgspec.msgpack.encode([LATER_KEY, 5, *buyer])
    run(rig.client, "HSET", rig.keys[3], "ann", later)
    rig.hold("b")
    rig.cancel("a")
    packed = run(rig.client, "HGET", rig.keys[3], "ann")
    stored = msgspec.msgpack.decode(packed, type=list[object])
    assert stored[stored.index(LATER_KEY) + 1] == 5
    assert token("a") not in stored
    assert token("b") in stored
