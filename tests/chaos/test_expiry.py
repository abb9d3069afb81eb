"""Redis dies between the deadline of a hold and the sweep; an answer given there stands."""

import os
import random
import secrets
import time
from datetime import datetime

from loadtest.client.history import Attempt
from tests.chaos.rig.trial import Trial, trial
from tests.support.insisting import insist
from tests.support.up import Up
from tests.support.waiting import wait_until

ROUNDS = 8
HOLD_SECONDS = 2
UNITS = 50


async def _ask(run: Trial, held: Attempt, rng: random.Random) -> Attempt:
    """Any call that answers that a hold is over."""
    call = rng.choice(("read", "confirm", "cancel", "extend"))
    if call == "confirm":
        return await run.calls.confirm(held.buyer_id, held.reservation_id, "paid")
    if call == "cancel":
        return await run.calls.cancel(held.buyer_id, held.reservation_id)
    if call == "extend":
        return await run.calls.extend(held.buyer_id, held.reservation_id, 1)
    return await run.calls.read(held.buyer_id, held.reservation_id)


async def _is_over_before_redis_dies(run: Trial, buyer: str, rng: random.Random) -> bool:
    """One round; whether somebody was answered that the hold is over before Redis was killed."""
    held = await run.reserve(buyer, "first")
    deadline = datetime.fromisoformat(held.expires_at).timestamp()
    async with run.stopped("reconciler"):  # the sweep shall not come first
        await wait_until(lambda: time.time() > deadline, "the hold is due")
        answer = await _ask(run, held, rng)
        await run.kill_and_wait("redis")
    shown = await insist(lambda: run.calls.read(buyer, held.reservation_id))
    paid = await run.pay(held)
    is_over = answer.status == 410 or answer.state == "expired"
    if is_over:
        assert (shown.state, paid.status) == ("expired", 410), answer
    return is_over


async def test_what_was_over_when_redis_died_is_over_for_good(up: Up) -> None:
    seed = int(os.environ.get("DROPGATE_TEST_SEED") or secrets.randbits(32))
    print(f"repeat with DROPGATE_TEST_SEED={seed}")
    rng = random.Random(seed)
    async with trial(up, units=UNITS, hold_seconds=HOLD_SECONDS) as run:
        rounds = [await _is_over_before_redis_dies(run, f"b-{n}", rng) for n in range(ROUNDS)]
        assert any(rounds), "every kill came too early or every call found the hold alive"
        await run.judge()
