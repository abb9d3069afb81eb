"""Every write command fails in turn: no unit moves without its event."""

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.support.scripts.calls import MUTATING, arguments, prepare
from tests.support.scripts.harness import Rig
from tests.support.scripts.state import contents, run, writes

WRITES = ("xadd", "hset", "zadd", "zrem", "hdel", "xtrim")
MOVING = tuple(name for name in MUTATING if name not in {"load", "recover", "trim"})


@pytest.fixture
def limited(rig: Rig) -> Iterator[Rig]:
    """A user for whom commands can be taken away, gone after the test."""
    run(rig.client, "ACL", "SETUSER", "limited", "on", ">any", "~*", "+@all")
    yield rig
    run(rig.client, "ACL", "DELUSER", "limited")


@pytest.fixture
def full(rig: Rig) -> Iterator[Rig]:
    """The server's memory is given back after the test."""
    yield rig
    run(rig.client, "CONFIG", "SET", "maxmemory", "0")


def _outbox(rig: Rig) -> list[bytes]:
    return [entry_id for entry_id, _ in run(rig.client, "XRANGE", rig.keys[5], "-", "+")]


def _units(rig: Rig) -> dict[bytes, bytes]:
    units: dict[bytes, bytes] = run(rig.client, "HGETALL", rig.keys[1])
    return units


@pytest.mark.parametrize("denied", WRITES)
@pytest.mark.parametrize("name", MUTATING)
def test_one_command_is_denied(
    limited: Rig, server_client: redis.Redis, name: str, denied: str
) -> None:
    rig = limited
    prepare(rig)
    given = arguments(rig, name)
    if name == "load":
        run(rig.client, "DEL", *rig.keys)
    run(rig.client, "ACL", "SETUSER", "limited", f"-{denied}")
    before, outbox, units = contents(rig.client), _outbox(rig), _units(rig)
    try:
        rig.raw(name, *given, client=server_client)
    except redis.ResponseError:
        refused = True
    else:
        refused = False
    if denied == "xadd":
        assert refused == (name != "trim")
    if refused and denied in {"xadd", "xtrim"}:
        assert contents(rig.client) == before
    if _units(rig) != units:
        assert len(_outbox(rig)) > len(outbox)
    if refused and contents(rig.client) != before and name != "trim":
        assert len(_outbox(rig)) > len(outbox)
        _assert_stuck(rig, name, given)


def _assert_stuck(rig: Rig, name: str, given: tuple[bytes, ...]) -> None:
    """Half a step has its event; until recovery no other write changes it."""
    outbox, units = _outbox(rig), _units(rig)
    try:
        status = rig.raw(name, *given).status
    except redis.ResponseError as error:
        assert "ID" in str(error)  # noqa: PT017 - XADD refuses the number that is taken
    else:
        assert status in {"ok", "recovering", "fenced"}
    assert (_outbox(rig), _units(rig)) == (outbox, units)


@pytest.mark.parametrize("name", MOVING)
def test_memory_is_full(full: Rig, name: str) -> None:
    rig = full
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "CONFIG", "SET", "maxmemory", "1")
    before, counted = contents(rig.client), writes(rig.client)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        rig.raw(name, *given)
    assert (contents(rig.client), writes(rig.client)) == (before, counted)
    run(rig.client, "CONFIG", "SET", "maxmemory", "0")
    assert rig.raw(name, *given).status == "ok"
    rig.state()


@pytest.mark.parametrize("name", ["load", "recover"])
def test_memory_is_full_while_a_partition_begins(full: Rig, name: str) -> None:
    rig = full
    prepare(rig)
    given = arguments(rig, name)
    if name == "load":
        run(rig.client, "DEL", *rig.keys)
    run(rig.client, "CONFIG", "SET", "maxmemory", "1")
    before = contents(rig.client)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        rig.raw(name, *given)
    assert contents(rig.client) == before


def test_refusals_and_replays_are_answered_where_memory_is_full(full: Rig) -> None:
    rig = full
    prepare(rig)
    rig.set_state("closed")
    rig.expire()
    run(rig.client, "CONFIG", "SET", "maxmemory", "1")
    with rig.unchanged():
        assert rig.confirm("sold").outcome == "replayed"
        assert rig.confirm("due").outcome == "hold_expired"
        assert rig.adjust("cap", 1).outcome == "closed"
        assert rig.read("held")[0] is not None
        assert rig.snapshot().state == "closed"


@pytest.mark.parametrize("call", ["confirm", "cancel", "extend", "read"])
def test_no_hold_is_called_expired_where_memory_is_full_for_its_event(full: Rig, call: str) -> None:
    rig = full
    prepare(rig)
    calls: dict[str, Callable[[], object]] = {
        "confirm": lambda: rig.confirm("due"),
        "cancel": lambda: rig.cancel("due"),
        "extend": lambda: rig.extend("due", 1),
        "read": lambda: rig.read("due"),
    }
    run(rig.client, "CONFIG", "SET", "maxmemory", "1")
    with rig.unchanged(), pytest.raises(redis.ResponseError, match="maxmemory"):
        calls[call]()


def test_an_outbox_that_ran_ahead_stops_everything(rig: Rig) -> None:
    """An entry that is not ours takes the next number: nothing is written over or beside it."""
    prepare(rig)
    given = {name: arguments(rig, name) for name in MOVING}
    run(rig.client, "XADD", rig.keys[5], f"1-{rig.snapshot().sequence + 5}", "event", "{}")
    for name, valid in given.items():
        with rig.unchanged(), pytest.raises(redis.ResponseError, match="ID"):
            rig.raw(name, *valid)
