"""Sales for the script tests, and the arguments `load` takes for them."""

from dataclasses import dataclass

import msgspec

FAR_MS = 9_000_000_000_000
Lines = tuple[tuple[str, int] | tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One SKU; `stock` in the order of preference of its locations."""

    sku: str
    stock: tuple[tuple[str, int], ...] = (("default", 10),)
    unit_price: int = 2500
    limit: int = 10
    floor: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Sale:
    """One partition's sale; accounts are numbered item by item."""

    items: tuple[Item, ...] = (Item("tee"),)
    sale_id: str = "drop"
    number: int = 0
    hold_ms: int = 600_000
    extension_ms: int = 300_000
    opens_at: int = 0
    closes_at: int = 0
    outbox_bound: int = 1000
    sweep_bound: int = 100
    split: bool = False
    fingerprint: str = "config-1"
    waiting_room: bool = False
    unpaid_per_buyer: int = 10_000
    unpaid_window_ms: int = 0
    cooldown: tuple[int, int, int] = (0, 0, 0)  # after so many given back; ms at first and at most
    rate: tuple[int, int] | None = None  # requests and ms; no part of what is loaded

    @property
    def accounts(self) -> tuple[tuple[str, str, int, int], ...]:
        """(sku, location, item number, units) of each account."""
        return tuple(
            (item.sku, location, number, units)
            for number, item in enumerate(self.items, start=1)
            for location, units in item.stock
        )

    def item_number(self, sku: str) -> int:
        """From 1."""
        return next(n for n, item in enumerate(self.items, start=1) if item.sku == sku)

    def account_number(self, sku: str, location: str = "default") -> int:
        """From 1."""
        return next(
            number
            for number, account in enumerate(self.accounts, start=1)
            if account[:2] == (sku, location)
        )

    def triples(self, lines: Lines) -> tuple[int, ...]:
        """Lines (sku, quantity[, location]) as the scripts take them."""
        flat: list[int] = []
        for line in lines:
            account = self.account_number(line[0], line[2]) if len(line) == 3 else 0
            flat += [self.item_number(line[0]), account, line[1]]
        return tuple(flat)

    @property
    def rules(self) -> tuple[bool, int, int, int, int, int]:
        """As the catalogue keeps them."""
        return (self.waiting_room, self.unpaid_per_buyer, *self.cooldown, self.unpaid_window_ms)

    def fields(self) -> list[object]:
        """The third argument of `load`, before it is packed."""
        numbers = [
            [n for n, account in enumerate(self.accounts, start=1) if account[0] == item.sku]
            for item in self.items
        ]
        return [
            self.sale_id,
            self.number,
            self.hold_ms,
            self.extension_ms,
            self.opens_at,
            self.closes_at,
            self.outbox_bound,
            self.sweep_bound,
            self.split,
            [
                [item.sku, item.unit_price, item.limit, item.floor, item.paused, accounts]
                for item, accounts in zip(self.items, numbers, strict=True)
            ],
            [list(account) for account in self.accounts],
            self.fingerprint,
            list(self.rules),
        ]

    def config(self) -> bytes:
        """The third argument of `load`."""
        return msgspec.msgpack.encode(self.fields())


@dataclass(frozen=True, slots=True)
class Ask:
    """One reserve; `name` stands for the (buyer, key) its token is made of."""

    name: str
    buyer: str = "ann"
    lines: Lines = (("tee", 1),)
    fingerprint: str = "order-1"
    admission: int = 0
    admission_ends_at: int = FAR_MS
    metered: bool = False


def token(name: str) -> str:
    """A token one can read in a failure."""
    return name.ljust(22, "_")
