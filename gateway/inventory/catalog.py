"""The catalogue of a sale: its items and stock accounts, numbered from 1 in the order of the spec.

The scripts know items and accounts by these numbers; both sides derive them from the same spec, so
they never travel by name on the hot path.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Self

import msgspec

from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import SaleSpec


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """One SKU; `accounts` are the numbers of its accounts in order of preference."""

    sku: str
    name: str
    unit_price: int
    limit: int
    floor: int
    accounts: tuple[int, ...]

    @property
    def account_floor(self) -> int:
        """Lowest `available` of one of its accounts alone; the item's floor holds for their sum."""
        return self.floor if len(self.accounts) == 1 else min(0, self.floor)


@dataclass(frozen=True, slots=True)
class CatalogAccount:
    """Units of one item at one location."""

    sku: str
    location: str
    item: int
    units: int


@dataclass(frozen=True, eq=False)
class Catalog:
    """Items and accounts of one sale; index 0 of each tuple has number 1. Equal only to itself, so
    that what is derived from it can be remembered by it.
    """

    items: tuple[CatalogItem, ...]
    accounts: tuple[CatalogAccount, ...]
    currency: str

    @classmethod
    def of(cls, spec: SaleSpec) -> Self:
        """Number a spec's items and accounts."""
        items: list[CatalogItem] = []
        accounts: list[CatalogAccount] = []
        for number, item in enumerate(spec.items, start=1):
            own: list[int] = []
            for location, units in item.units_by_location.items():
                accounts.append(CatalogAccount(item.sku, location, number, units))
                own.append(len(accounts))
            items.append(
                CatalogItem(
                    sku=item.sku,
                    name=item.name or item.sku,
                    unit_price=item.price.amount,
                    limit=item.per_buyer_limit or spec.per_buyer_limit,
                    floor=item.floor,
                    accounts=tuple(own),
                )
            )
        return cls(tuple(items), tuple(accounts), spec.currency)

    @cached_property
    def _sku_numbers(self) -> dict[str, int]:
        return {item.sku: number for number, item in enumerate(self.items, start=1)}

    @cached_property
    def _account_numbers(self) -> dict[tuple[str, str], int]:
        return {(a.sku, a.location): number for number, a in enumerate(self.accounts, start=1)}

    def sku_number(self, sku: str) -> int | None:
        """The item's number, or None for an unknown SKU."""
        return self._sku_numbers.get(sku)

    def account_number(self, sku: str, location: str) -> int | None:
        """The account's number, or None where the item has no such location."""
        return self._account_numbers.get((sku, location))

    def item(self, number: int) -> CatalogItem:
        """The item of a number the scripts use."""
        return self.items[number - 1]

    def account(self, number: int) -> CatalogAccount:
        """The account of a number the scripts use."""
        return self.accounts[number - 1]


@dataclass(frozen=True, slots=True)
class PartitionBounds:
    """Bounds of work inside a partition: events beyond the ledger, holds swept by one reserve."""

    outbox_bound: int
    sweep_bound: int


def _milliseconds(instant: datetime | None) -> int:
    return 0 if instant is None else round(instant.timestamp() * 1000)


def _cooldown(spec: SaleSpec) -> tuple[int, int, int]:
    """After how many given back, the first wait and the longest in ms; zeros: none."""
    cooldown = spec.cooldown
    if cooldown is None:
        return 0, 0, 0
    return cooldown.after, cooldown.seconds * 1000, cooldown.seconds_max * 1000


def load_config(
    spec: SaleSpec,
    partition: PartitionId,
    bounds: PartitionBounds,
    paused_skus: frozenset[str] = frozenset(),
) -> bytes:
    """The configuration that `load` and `restore` take (lua/include/catalog.lua).

    Its fingerprint at the end lets `load` know its own repeat.
    """
    catalog = Catalog.of(spec)
    extension = spec.hold_seconds if spec.extension_seconds is None else spec.extension_seconds
    config: list[object] = [
        partition.sale_id,
        partition.number,
        spec.hold_seconds * 1000,
        extension * 1000,
        _milliseconds(spec.opens_at),
        _milliseconds(spec.closes_at),
        bounds.outbox_bound,
        bounds.sweep_bound,
        spec.split_lines,
        [
            [i.sku, i.unit_price, i.limit, i.floor, i.sku in paused_skus, list(i.accounts)]
            for i in catalog.items
        ],
        [[a.sku, a.location, a.item, a.units] for a in catalog.accounts],
    ]
    rules = [spec.waiting_room is not None, spec.unpaid_per_buyer, *_cooldown(spec)]
    # The bounds are settings and may differ between processes; they do not make another load.
    told_apart = [*config[:6], *config[8:], rules]
    fingerprint = blake2b(msgspec.msgpack.encode(told_apart), digest_size=8).hexdigest()
    return msgspec.msgpack.encode([*config, fingerprint, rules])
