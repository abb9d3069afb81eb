"""The public view of a sale: made at most twice a second per worker, however many callers ask.

When Redis is slow, the last view is answered, with counters some seconds old and the current state:
under load this is the call that everybody makes, so it never waits for long.
"""

import asyncio
import time
from hashlib import blake2b
from typing import Literal

import msgspec

from gateway.api.contract.rendering import instant
from gateway.api.contract.schemas import PublicItem, PublicSale, PublicWaitingRoom
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem
from gateway.api.sales.snapshots import Snapshots
from gateway.inventory.catalog import CatalogItem
from gateway.inventory.errors import InventoryError
from gateway.inventory.specs import Money, WaitingRoomSpec
from gateway.inventory.types import SaleState, Snapshot

FRESH_SECONDS = 0.5
STALE_SECONDS = 10.0
PATIENCE_SECONDS = 0.25
VIEWS_MAX = 2000
LOW_SHARE = 0.1

Availability = Literal["plenty", "low", "none", "unknown"]
_encode = msgspec.json.Encoder().encode
_WITHOUT_PARTITIONS = frozenset({SaleState.DRAFT, SaleState.SCHEDULED, SaleState.SETTLED})


class PublicView(msgspec.Struct, frozen=True):
    """The body as bytes, with its version and digest; `made_at` is on the monotonic clock."""

    body: bytes
    version: int
    digest: str
    made_at: float


class PublicSales:
    """Makes and keeps the public views of sales."""

    def __init__(self, directory: SaleDirectory, snapshots: Snapshots) -> None:
        """`directory` has the cached facts, `snapshots` the partitions' counters."""
        self._directory = directory
        self._snapshots = snapshots
        self._views: dict[str, PublicView] = {}
        self._making: dict[str, asyncio.Task[PublicView]] = {}

    async def view(self, sale_id: str) -> PublicView:
        """The public view. Raises Problem not_found, or recovering when facts cannot be read."""
        view = self._usable(sale_id)
        if view is not None and time.monotonic() - view.made_at < FRESH_SECONDS:
            return view
        task = self._making.get(sale_id)
        if task is None:
            task = asyncio.create_task(self._make(sale_id))
            self._making[sale_id] = task
            task.add_done_callback(lambda done: self._made(sale_id, done))
        if view is not None:
            await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
            if not task.done():
                return self._usable(sale_id) or view
        return await asyncio.shield(task)

    def _made(self, sale_id: str, task: asyncio.Task[PublicView]) -> None:
        self._making.pop(sale_id, None)
        if not task.cancelled():
            task.exception()  # retrieved, since no caller may have waited for it

    def _usable(self, sale_id: str) -> PublicView | None:
        """The last view, if it is fresh enough and of the sale's current version."""
        view, facts = self._views.get(sale_id), self._directory.last_known(sale_id)
        if view is None or facts is None or facts.version != view.version:
            return None
        return view if time.monotonic() - view.made_at < STALE_SECONDS else None

    async def _make(self, sale_id: str) -> PublicView:
        facts = await facts_or_problem(self._directory, sale_id)
        body = _encode(_public_sale(facts, await self._snapshots_of(facts)))
        digest = blake2b(body, digest_size=6).hexdigest()
        view = PublicView(body, facts.version, digest, time.monotonic())
        self._views.pop(sale_id, None)
        self._views[sale_id] = view
        while len(self._views) > VIEWS_MAX:
            self._views.pop(next(iter(self._views)))
        return view

    async def _snapshots_of(self, facts: SaleFacts) -> tuple[Snapshot, ...] | None:
        if not facts.opened or facts.state in _WITHOUT_PARTITIONS:
            return None
        try:
            return await self._snapshots.of_partitions(facts)
        except InventoryError:
            return None  # availability is then `unknown`: the page works while Redis is down


def _public_sale(facts: SaleFacts, snapshots: tuple[Snapshot, ...] | None) -> PublicSale:
    spec = facts.spec
    paused = {sku for snapshot in snapshots or () for sku in snapshot.paused_skus}
    return PublicSale(
        sale_id=facts.sale_id,
        state=facts.state,
        version=facts.version,
        opens_at=instant(spec.opens_at) if spec.opens_at else None,
        closes_at=instant(spec.closes_at) if spec.closes_at else None,
        hold_seconds=spec.hold_seconds,
        waiting_room=_waiting_room(spec.waiting_room),
        items=tuple(
            PublicItem(
                sku=item.sku,
                name=item.name,
                price=Money(item.unit_price, facts.currency),
                per_buyer_limit=item.limit,
                paused=item.sku in paused,
                availability=_availability(facts, item, snapshots),
            )
            for item in facts.catalog.items
        ),
    )


def _waiting_room(spec: WaitingRoomSpec | None) -> PublicWaitingRoom | None:
    if spec is None:
        return None
    return PublicWaitingRoom(instant(spec.prequeue_at) if spec.prequeue_at else None, spec.order)


def _availability(
    facts: SaleFacts, item: CatalogItem, snapshots: tuple[Snapshot, ...] | None
) -> Availability:
    if facts.state is SaleState.SETTLED:
        return "none"
    if not facts.opened:
        sellable = total = sum(facts.catalog.account(number).units for number in item.accounts)
        return _coarse(sellable - item.floor, total - item.floor)
    if snapshots is None:
        return "unknown"
    accounts = [a for snapshot in snapshots for a in snapshot.accounts if a.sku == item.sku]
    sellable = sum(account.available for account in accounts) - item.floor
    total = sum(account.loaded + account.adjusted for account in accounts) - item.floor
    return _coarse(sellable, total)


def _coarse(sellable: int, total: int) -> Availability:
    if sellable <= 0:
        return "none"
    return "low" if sellable <= max(1, int(total * LOW_SHARE)) else "plenty"
