"""Kills aimed at the moment after an answer, and what leads up to each of these answers."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from loadtest.client.answers import Line
from loadtest.client.history import Attempt
from loadtest.verdict.answers.statements import RESOLVED, said
from tests.chaos.rig.trial import LIMIT, SKU, UNIT, Trial
from tests.support.insisting import insist
from tests.support.servers import unique
from tests.support.waiting import wait_until

KEY = "first"


@dataclass(frozen=True)
class Moment:
    """An answer to aim at; `lead_up` makes a buyer's calls up to that answer."""

    name: str
    matches: Callable[[Attempt], bool]
    lead_up: Callable[[Trial, str], Awaitable[object]]

    def __str__(self) -> str:
        return self.name


async def _hold(run: Trial, buyer: str) -> Attempt:
    return await run.reserve(buyer, KEY)


async def _replay(run: Trial, buyer: str) -> None:
    await _hold(run, buyer)
    await _hold(run, buyer)


async def _pay(run: Trial, buyer: str) -> None:
    await run.pay(await _hold(run, buyer))


async def _cancel(run: Trial, buyer: str) -> None:
    await run.cancel(await _hold(run, buyer))


async def _extend(run: Trial, buyer: str) -> None:
    held = await _hold(run, buyer)
    await run.calls.extend(buyer, held.reservation_id, 1)


async def _overstay(run: Trial, buyer: str) -> Attempt:
    """A hold whose deadline has just passed."""
    held = await _hold(run, buyer)
    if held.accepted:
        deadline = datetime.fromisoformat(held.expires_at).timestamp()
        await wait_until(lambda: time.time() > deadline, "the hold is due")
    return held


async def _read_late(run: Trial, buyer: str) -> None:
    held = await _overstay(run, buyer)
    await run.calls.read(buyer, held.reservation_id)


async def _pay_late(run: Trial, buyer: str) -> None:
    await run.pay(await _overstay(run, buyer))


async def _cancel_late(run: Trial, buyer: str) -> None:
    await run.cancel(await _overstay(run, buyer))


async def _replay_late(run: Trial, buyer: str) -> None:
    await _overstay(run, buyer)
    await _hold(run, buyer)


async def _want_too_many(run: Trial, buyer: str) -> None:
    await run.reserve(buyer, KEY, (Line(SKU, LIMIT),))
    await run.reserve(buyer, "second")


async def _come_too_late(run: Trial, buyer: str) -> None:
    """Others have bought all units."""
    for number in range(run.units // LIMIT):
        bought = await run.reserve(f"{buyer}-before-{number}", KEY, (Line(SKU, LIMIT),))
        await run.pay(bought)
    await _hold(run, buyer)


# What any sale leads up to within a hold's time.
MOMENTS = (
    Moment("accepted", lambda a: a.call == "reserve" and a.status == 201, _hold),
    Moment("replayed", lambda a: a.replayed, _replay),
    Moment("confirmed", lambda a: a.call == "confirm" and a.accepted, _pay),
    Moment("cancelled", lambda a: a.call == "cancel" and a.accepted, _cancel),
    Moment("extended", lambda a: a.call == "extend" and a.accepted, _extend),
    Moment("limit_exceeded", lambda a: a.code == "limit_exceeded", _want_too_many),
    Moment("read_as_expired", lambda a: a.call == "read" and a.state == "expired", _read_late),
    Moment("replayed_as_expired", lambda a: a.replayed and a.state == "expired", _replay_late),
    Moment("confirm_410", lambda a: a.call == "confirm" and a.status == 410, _pay_late),
    Moment("cancel_410", lambda a: a.call == "cancel" and a.status == 410, _cancel_late),
)
SOLD_OUT = Moment("sold_out", lambda a: a.code == "sold_out", _come_too_late)


async def ask_again(run: Trial, told: Attempt) -> None:
    """The buyer makes every call again; what the answer promised is still true.

    What all answers say together is judged with the rest of the history.
    """
    buyer = told.buyer_id
    replay = await insist(lambda: run.calls.reserve(buyer, KEY, _lines_of(run, buyer)))
    if told.code == "sold_out":
        assert replay.code == "sold_out", "all units are paid for"
        return
    known = replay.reservation_id
    shown = await insist(lambda: run.calls.read(buyer, known))
    assert replay.replayed, replay
    assert said(told) not in RESOLVED or shown.state == said(told), (told, shown)
    await insist(lambda: run.calls.orders(buyer))
    await run.pay(shown)
    await run.cancel(shown)
    await insist(lambda: run.calls.extend(buyer, known, 1))
    await insist(lambda: run.calls.reserve(buyer, "again", UNIT))
    await insist(lambda: run.calls.read(buyer, known))
    await insist(lambda: run.calls.orders(buyer))


def _lines_of(run: Trial, buyer: str) -> tuple[Line, ...]:
    """What the buyer asked for under the first key."""
    asked = next(a for a in run.history.of("reserve") if (a.buyer_id, a.key) == (buyer, KEY))
    return tuple(Line(sku, quantity) for sku, quantity in asked.wanted)


def kill_all(run: Trial, name: str) -> None:
    """SIGKILL the Redis that serves, or every process of another name."""
    if name == "redis":
        run.kill(name)
        return
    for which in range(len(run.pids(name))):
        run.kill(name, which=which)


async def aimed_kill(run: Trial, rng: random.Random) -> str:
    """Redis, or every gateway worker, dies at the moment after an answer to some buyer."""
    moment, victim = rng.choice(MOMENTS), rng.choice(("redis", "gateway"))
    with run.history.aimed(moment.matches, lambda: kill_all(run, victim)) as shot:
        await moment.lead_up(run, unique("aimed"))
    return f"killed {victim} after {moment}" if shot.answer else f"nobody was answered: {moment}"
