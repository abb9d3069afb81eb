"""The ledger stays away for longer than the outbox may grow."""

import pytest

from tests.chaos.rig import WAIT_SECONDS, running_up, trial
from tests.support.waiting import wait_until

BOUND_EVENTS = 150


async def test_a_ledger_that_stays_away_stops_promises_and_no_payment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DROPGATE_INVENTORY__OUTBOX_BOUND_EVENTS", str(BOUND_EVENTS))
    async with running_up() as up, trial(up, hold_seconds=6) as run:
        held = await run.reserve("ann", "first")
        async with run.down("order_writer"):
            async with run.load.running():
                await wait_until(
                    lambda: run.history.refusals()["ledger_behind"] >= 20,
                    WAIT_SECONDS,
                    "the outbox is at its bound",
                )
                paid = await run.calls.confirm("ann", held.reservation_id, "paid")
                assert paid.accepted, paid
            refused = [a for a in run.history.of("reserve") if a.code == "ledger_behind"]
            assert all(a.status == 503 and a.retry_after for a in refused)
        async with run.load.running():
            await run.goes_on()
        await run.judge()
