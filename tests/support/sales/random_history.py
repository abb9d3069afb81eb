"""Random steps of a sale, straight at the store: every edge, refusals included."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.inventory.store import AdjustKey
from gateway.inventory.types import AskedLines, ReservationState
from tests.support.sales.judged_sale import JudgedSale, admitted
from tests.support.sales.partitions import FINGERPRINT, token_of

BUYERS = 12
EXPIRE_MOST = 100
# Item, account and the largest quantity that is asked for.
ACCOUNTS = ((1, 1, 3), (2, 2, 1), (2, 3, 1))


@dataclass
class RandomHistory:
    """Takes steps in a judged sale; the same seed takes the same steps."""

    sale: JudgedSale
    seed: int
    tokens: list[str] = field(default_factory=list)
    taken: int = 0

    def __post_init__(self) -> None:
        """Nothing has been reserved yet."""
        self.random = random.Random(self.seed)

    async def steps(self, count: int) -> None:
        """So many steps; a step that is refused changes nothing and counts, too."""
        for _ in range(count):
            self.taken += 1
            weights, actions = zip(*self._actions(), strict=True)
            (action,) = self.random.choices(actions, weights)
            await action()

    def _actions(self) -> list[tuple[int, Callable[[], Awaitable[object]]]]:
        return [
            (8, self._reserve),
            (5, self._confirm),
            (2, self._cancel),
            (2, self._extend),
            (3, self._return),
            (3, self._adjust),
            (1, self._pause_or_resume),
            (1, self._lapse),
        ]

    async def _reserve(self) -> None:
        buyer = f"random-{self.random.randrange(BUYERS)}"
        token = token_of(buyer, f"key-{self.taken}")
        # In the order of the items, as the gateway asks.
        places = sorted(self.random.sample(ACCOUNTS, self.random.randint(1, 2)))
        if len({item for item, _, _ in places}) < len(places):
            places = places[:1]
        lines = [
            number
            for item, account, most in places
            for number in (item, account, self.random.randint(1, most))
        ]
        request = admitted(token, buyer, AskedLines(tuple(lines)))
        (reply,) = await self.sale.store.reserve(self.sale.partition, [request])
        if reply.outcome == "accepted":
            self.tokens.append(token)

    def _token(self) -> str:
        """Any reservation, or, as often, one of the newest."""
        if not self.tokens:
            return token_of("nobody")
        newest = self.tokens[-8:] if self.random.random() < 0.5 else self.tokens
        return self.random.choice(newest)

    async def _confirm(self) -> None:
        """Whole, or the first line with one unit of what was reserved."""
        store, partition, token = self.sale.store, self.sale.partition, self._token()
        part: tuple[int, ...] = ()
        if self.random.random() < 0.3:
            (known,) = await store.read(partition, [token])
            if known is not None and known.state == ReservationState.HELD:
                account = known.lines[0]
                part = (1 if account == 1 else 2, account, 1)
        await store.confirm(partition, token, f"pay-{token}", AskedLines(part))

    async def _cancel(self) -> None:
        await self.sale.store.cancel(self.sale.partition, self._token(), "somebody")

    async def _extend(self) -> None:
        key = token_of("extend", str(self.taken)) if self.random.random() < 0.7 else ""
        await self.sale.store.extend(self.sale.partition, self._token(), 1000, key)

    async def _return(self) -> None:
        store, partition, token = self.sale.store, self.sale.partition, self._token()
        (known,) = await store.read(partition, [token])
        if known is None or known.state != ReservationState.CONFIRMED:
            return
        account = self.random.choice(known.lines[::2])
        await store.return_units(
            partition, token, token_of("return", str(self.taken)),
            AskedLines((1 if account == 1 else 2, account, 1)),
            restock=self.random.random() < 0.5, reason="random", fingerprint=FINGERPRINT,
        )  # fmt: skip

    async def _adjust(self) -> None:
        once = AdjustKey(token_of("adjust", str(self.taken)), FINGERPRINT)
        account = self.random.choice(ACCOUNTS)[1]
        delta = self.random.choice((-1, 2, 4, 8))
        await self.sale.store.adjust(
            self.sale.partition, account, delta, "random", "ops", once=once
        )

    async def _pause_or_resume(self) -> None:
        """One of the items, or the sale; a paused one goes on most of the time."""
        to = self.random.choice(("paused", "open", "open", "open", "open", "open"))
        item = self.random.choice((0, 1, 2))
        await self.sale.store.set_state(self.sale.partition, to, item)

    async def _lapse(self) -> None:
        """A hold of a millisecond, and sweeps until it has returned."""
        buyer = f"lapser-{self.taken}"
        usual = await self.sale.redis.hget(self.sale.key("meta"), "hold_ms")
        await self.sale.redis.hset(self.sale.key("meta"), "hold_ms", "1")
        request = admitted(token_of(buyer), buyer, AskedLines((1, 1, 1)))
        (reply,) = await self.sale.store.reserve(self.sale.partition, [request])
        await self.sale.redis.hset(self.sale.key("meta"), "hold_ms", str(int(usual or 0)))
        expired = reply.outcome != "accepted"
        while not expired:
            sweep = await self.sale.store.expire(self.sale.partition, EXPIRE_MOST)
            expired = bool(sweep.expired)
