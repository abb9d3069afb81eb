"""What simulated buyers do: how they ask for units, and what becomes of their hold."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from config.waiting import Backoff
from loadtest.client.answers import Line
from loadtest.client.calls import Calls
from loadtest.client.history import NO_ANSWER, Attempt

SAME_KEY_TRIES_MAX = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 3.2
CONCURRENT_REPEATS = 3


class Manner(Enum):
    """How a buyer asks."""

    ONCE = auto()
    REPEATED = auto()  # sends the key again after the answer
    CONCURRENT = auto()  # sends the key several times at once
    CUT = auto()  # cuts the connection before the answer, then sends the key again


class Fate(Enum):
    """What a holder does."""

    PAYS = auto()
    CANCELS = auto()
    LAPSES = auto()


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of buyers; all other buyers ask once, and pay."""

    repeated: float = 0.10
    concurrent: float = 0.04
    cut: float = 0.03
    cancels: float = 0.08
    lapses: float = 0.12
    pries: float = 0.05  # holders whose reservation another buyer tries to see and to cancel


@dataclass(frozen=True, slots=True)
class Stock:
    """What the sale's file offers of one SKU."""

    sku: str
    units: int
    limit: int


@dataclass(frozen=True, slots=True)
class Buyer:
    """One of the crowd, with a will of its own drawn beforehand from the seed."""

    buyer_id: str
    lines: tuple[Line, ...]
    manner: Manner
    fate: Fate
    is_pried: bool
    think_seconds: float
    asks_twice: bool  # comes back once with a new key after a refusal


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold a buyer got."""

    buyer: Buyer
    reservation_id: str


def _lines(rng: random.Random, stock: Sequence[Stock]) -> tuple[Line, ...]:
    """Mostly one unit of one SKU; now and then up to the limit, or two SKUs at once."""
    chosen = rng.choices(stock, weights=[item.units for item in stock])
    if len(stock) > 1 and rng.random() < 0.03:
        chosen = rng.sample(list(stock), 2)
    return tuple(
        Line(item.sku, rng.randint(1, item.limit) if rng.random() < 0.2 else 1) for item in chosen
    )


def make_buyer(rng: random.Random, name: str, stock: Sequence[Stock], shares: Shares) -> Buyer:
    """Draw one buyer."""
    (manner,) = rng.choices(
        (Manner.REPEATED, Manner.CONCURRENT, Manner.CUT, Manner.ONCE),
        weights=(
            shares.repeated,
            shares.concurrent,
            shares.cut,
            1 - shares.repeated - shares.concurrent - shares.cut,
        ),
    )
    (fate,) = rng.choices(
        (Fate.CANCELS, Fate.LAPSES, Fate.PAYS),
        weights=(shares.cancels, shares.lapses, 1 - shares.cancels - shares.lapses),
    )
    return Buyer(
        buyer_id=name,
        lines=_lines(rng, stock),
        manner=manner,
        fate=fate,
        is_pried=rng.random() < shares.pries,
        think_seconds=rng.uniform(0.1, 1.5),
        asks_twice=rng.random() < 0.25,
    )


async def _until_answered(call: Callable[[], Awaitable[Attempt]]) -> Attempt:
    """Make the call again after a 503 and after no answer, at most SAME_KEY_TRIES_MAX times."""
    backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=False)
    attempt = await call()
    for _ in range(1, SAME_KEY_TRIES_MAX):
        if attempt.status not in {NO_ANSWER, 503}:
            break
        await backoff.pause()
        attempt = await call()
    return attempt


async def _insist(calls: Calls, buyer: Buyer, key: str) -> Attempt:
    """Reserve with this key until there is an answer."""
    return await _until_answered(partial(calls.reserve, buyer.buyer_id, key, buyer.lines))


async def ask(calls: Calls, buyer: Buyer, key: str) -> Claim | None:
    """Reserve the buyer's lines in the buyer's manner; returns the hold, None where refused."""
    if buyer.manner is Manner.CONCURRENT:
        attempts: list[Attempt] = await asyncio.gather(
            *(_insist(calls, buyer, key) for _ in range(CONCURRENT_REPEATS))
        )
        accepted = [attempt for attempt in attempts if attempt.accepted]
        attempt = accepted[0] if accepted else attempts[0]
    else:
        if buyer.manner is Manner.CUT:
            await calls.reserve_and_hang_up(buyer.buyer_id, key, buyer.lines)
        attempt = await _insist(calls, buyer, key)
        if buyer.manner is Manner.REPEATED and attempt.accepted:
            await _insist(calls, buyer, key)
    return Claim(buyer, attempt.reservation_id) if attempt.accepted else None


async def live_out(calls: Calls, claim: Claim, stranger_id: str) -> bool:
    """Let a hold meet its fate; returns whether it was paid for.

    Where the buyer is pried on, `stranger_id` first tries to see and to cancel the hold: both calls
    must fail, which the verdict judges.
    """
    buyer, reservation_id = claim.buyer, claim.reservation_id
    if buyer.is_pried:
        await calls.read(stranger_id, reservation_id)
        await calls.cancel(stranger_id, reservation_id)
        await calls.read(buyer.buyer_id, reservation_id)
    if buyer.fate is Fate.LAPSES:
        return False
    await asyncio.sleep(buyer.think_seconds)
    if buyer.fate is Fate.CANCELS:
        await calls.cancel(buyer.buyer_id, reservation_id)
        return False
    reference = f"pay-{reservation_id[-12:]}"
    confirm = partial(calls.confirm, buyer.buyer_id, reservation_id, reference)
    return (await _until_answered(confirm)).accepted
