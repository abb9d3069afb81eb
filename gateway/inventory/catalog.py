"""The catalogue of a sale: its items and stock accounts, numbered from 1 in the order of the spec.

Scripts and Python know items and accounts by these numbers, and both derive them from the spec, so
names never travel on the hot path.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Self

import msgspec

from gateway.inventory.keys import PartitionId
from gateway.inventory.specs import UNPAID_WINDOW_SECONDS, SaleSpec


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """One SKU; `accounts`: the numbers of its accounts, in order of preference."""

    sku: str
    name: str
    unit_price: int
    limit: int
    floor: int
    accounts: tuple[int, ...]

    @property
    def account_floor(self) -> int:
        """The lowest `available` of a single account; the item's floor holds for their sum."""
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
    """Items and accounts of one sale; index 0 of each tuple has number 1. A catalogue equals only
    itself, so that values derived from it can be cached by it.
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
        """The account's number, or None when the item has no such location."""
        return self._account_numbers.get((sku, location))

    def item(self, number: int) -> CatalogItem:
        """The item with this number."""
        return self.items[number - 1]

    def account(self, number: int) -> CatalogAccount:
        """The account with this number."""
        return self.accounts[number - 1]


@dataclass(frozen=True, slots=True)
class PartitionBounds:
    """Bounds of a partition: events not yet in the ledger, and holds swept by one reserve."""

    outbox_bound: int
    sweep_bound: int


def _milliseconds(instant: datetime | None) -> int:
    return 0 if instant is None else round(instant.timestamp() * 1000)


def _cooldown(spec: SaleSpec) -> tuple[int, int, int]:
    """(reservations given back before the first wait, first wait, longest wait in ms); 0s: none."""
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

    Its fingerprint lets `load` recognise a repeated call.
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
    window = [spec.unpaid_window_seconds * 1000]
    # The bounds are settings that may differ between processes; the fingerprint leaves them out.
    # It leaves out the usual window, too, as the release did that had none.
    unusual = [] if spec.unpaid_window_seconds == UNPAID_WINDOW_SECONDS else window
    told_apart = [*config[:6], *config[8:], [*rules, *unusual]]
    fingerprint = blake2b(msgspec.msgpack.encode(told_apart), digest_size=8).hexdigest()
    return msgspec.msgpack.encode([*config, fingerprint, [*rules, *window]])
