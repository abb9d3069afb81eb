"""The calls that the tests of refusals start from are valid; every script is among them."""

import pytest

from tests.support.scripts.calls import EVERY, MUTATING, arguments, prepare
from tests.support.scripts.harness import SCRIPTS, Rig


def test_every_script_is_covered() -> None:
    # restore begins where there is no partition, or one nobody trusts: test_restore.py. The waiting
    # room's scripts work on keys of their own: test_queue*.py.
    of_partitions = {name for name in SCRIPTS if not name.startswith("queue_")}
    assert {*EVERY, "restore"} == of_partitions


@pytest.mark.parametrize("name", EVERY)
def test_is_answered_ok(rig: Rig, name: str) -> None:
    prepare(rig)
    given = arguments(rig, name)
    with rig.step() as step:
        assert rig.raw(name, *given).status == "ok"
    writes = name in MUTATING and name != "load"
    assert (step.before != step.after) == writes
