"""A missing key, field or type is lost data: `recovering`, never zero and never unlimited."""

import pytest
import redis

from tests.support.scripts.calls import EVERY, PARTITION_KEYS, arguments, prepare
from tests.support.scripts.harness import Rig
from tests.support.scripts.state import SENTINEL, contents, run, writes

META_FIELDS = (
    *("run_id", "epoch", "sequence", "state", "sale", "number", "opens_at", "closes_at"),
    *("hold_ms", "extension_ms", "last_time", "shift", "ledger_sequence", "outbox_bound"),
    *("sweep_bound", "catalog"),
)
ASKS_FOR_LEDGER = {"trim", "recover", "restore", "repair"}
# A script that has no business with a key neither reads nor writes it.
NEEDS = {
    "adjust": {"meta", "stock", "outbox"},
    "extend": {"meta", "reservations", "deadlines", "outbox"},
    "load": {"meta"},
    "rebase": {"meta", "outbox"},
    "recover": {"meta", "outbox"},
    "repair": {"meta", "reservations", "buyers", "deadlines", "outbox"},
    "set_state": {"meta", "outbox"},
    "trim": {"meta", "outbox"},
}


@pytest.mark.parametrize("lost", range(6), ids=PARTITION_KEYS)
@pytest.mark.parametrize("name", EVERY)
def test_a_missing_key(rig: Rig, name: str, lost: int) -> None:
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "DEL", rig.keys[lost])
    with rig.unchanged():
        assert rig.raw(name, *given).status == "recovering"


@pytest.mark.parametrize("name", [name for name in EVERY if name != "load"])
def test_no_partition_at_all(rig: Rig, name: str) -> None:
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "FLUSHDB")
    with rig.unchanged():
        assert rig.raw(name, *given).status == "recovering"


@pytest.mark.parametrize("field", META_FIELDS)
@pytest.mark.parametrize("name", EVERY)
def test_a_missing_field_of_the_meta_hash(rig: Rig, name: str, field: str) -> None:
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "HDEL", rig.keys[0], field)
    with rig.unchanged():
        assert rig.raw(name, *given).status == "recovering"


@pytest.mark.parametrize("name", EVERY)
def test_a_deadline_set_that_is_not_ours(rig: Rig, name: str) -> None:
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "ZREM", rig.keys[4], SENTINEL)
    with rig.unchanged():
        assert rig.raw(name, *given).status == "recovering"


@pytest.mark.parametrize("other", ["string", "list"])
@pytest.mark.parametrize("lost", range(6), ids=PARTITION_KEYS)
@pytest.mark.parametrize("name", EVERY)
def test_a_key_of_another_type(rig: Rig, name: str, lost: int, other: str) -> None:
    """Found before the first write; where no reply value says so, an error does."""
    prepare(rig)
    given = arguments(rig, name)
    run(rig.client, "DEL", rig.keys[lost])
    run(rig.client, "SET" if other == "string" else "RPUSH", rig.keys[lost], "1")
    before, counted = contents(rig.client), writes(rig.client)
    try:
        status = rig.raw(name, *given).status
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)  # noqa: PT017 - the two outcomes share what follows
        status = "recovering"
    if PARTITION_KEYS[lost] in NEEDS.get(name, PARTITION_KEYS):
        assert status == "recovering"
    if status == "recovering":
        assert (contents(rig.client), writes(rig.client)) == (before, counted)


@pytest.mark.parametrize("given", range(6))
@pytest.mark.parametrize("name", EVERY)
def test_too_few_keys(rig: Rig, name: str, given: int) -> None:
    prepare(rig)
    valid = arguments(rig, name)
    with rig.unchanged():
        answer = rig.raw(name, *valid, keys=rig.keys[:given])
    assert answer.status in {"recovering", "malformed"}


@pytest.mark.parametrize("name", EVERY)
def test_keys_in_another_order(rig: Rig, name: str) -> None:
    prepare(rig)
    valid = arguments(rig, name)
    with rig.unchanged():
        assert rig.raw(name, *valid, keys=rig.keys[::-1]).status == "recovering"


@pytest.mark.parametrize("name", EVERY)
def test_one_key_too_many(rig: Rig, name: str) -> None:
    """A seventh key names the ledger that counts, where the script asks for it."""
    prepare(rig)
    valid = arguments(rig, name)
    refusals = {"ledger_fenced"} if name in ASKS_FOR_LEDGER else {"recovering", "malformed"}
    with rig.unchanged():
        assert rig.raw(name, *valid, keys=(*rig.keys, rig.keys[0])).status in refusals
