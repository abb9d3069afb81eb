"""What a scenario is made of: the TOML file beside it, with a default for everything.

`[sale]` is what is sold, `[room]` how buyers are let in, `[arrivals]` who comes when, `[buyer]` how
long people think and how often they drop out, `[behaviours]` the weights of what visitors do (see
behaviours.py).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from loadtest.crowd.curves import CURVES

Span = tuple[float, float]  # seconds: drawn evenly between the two


class PlanError(ValueError):
    """A scenario's file cannot be read, or asks for what cannot be done."""


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SKU: its share of the stock, and of what buyers want."""

    sku: str
    stock: float = 1.0
    demand: float = 1.0


class SalePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sale a run makes for itself."""

    stock: int = 200
    hold_seconds: int = 5
    per_buyer_limit: int = 2
    items: tuple[Item, ...] = (Item("unit"),)


class Arrivals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many visitors come, and when.

    Without a `rate`, `users` visitors are there at a time, each replaced by the next visitor after
    its visit (closed loop). A `rate` above 0 is a timetable with so many arrivals a
    second at the peak, which `users` serve. `buyers` limits the visitors (0: no limit).
    """

    shape: str = "flat"
    users: int = 50
    seconds: int = 30
    rate: float = 0.0
    buyers: int = 0


class RoomPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A waiting room before the sale; with `prequeue_seconds` buyers join before it opens."""

    max_active_buyers: int = 100
    admission_seconds: int = 10
    order: str = "fifo"
    prequeue_seconds: float = 0.0


class BuyerPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Think times, and the shares of buyers who do something else than buy once and pay."""

    think_seconds: Span = (0.2, 1.5)  # the time between a hold and its end
    pause_seconds: Span = (0.0, 0.3)  # before a user of the closed loop is the next visitor
    repeats: float = 0.1  # share that sends the key again after the answer
    comes_back: float = 0.2  # share that asks once more after a refusal, with a new key
    cancels: float = 0.08
    lapses: float = 0.12
    looks: float = 0.2  # share that reads its own reservation
    pries: float = 0.02  # share that tries to see and cancel another buyer's hold
    leaves_queue: float = 0.02  # share at each poll; half leave without a call
    ignores_admission: float = 0.02  # share that is let in and never reserves
    holds: int = 3  # holds that one hoarder takes in turn and abandons
    tries: int = 8  # reserves of one bot account at once
    cuts: int = 2  # connections that a visitor of a storm loses before an answer


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario."""

    name: str
    sale: SalePlan = SalePlan()
    room: RoomPlan | None = None
    arrivals: Arrivals = Arrivals()
    buyer: BuyerPlan = BuyerPlan()
    behaviours: dict[str, float] = msgspec.field(default_factory=lambda: {"buy": 1.0})

    @classmethod
    def beside(cls, scenario_file: str) -> Self:
        """The plan in the TOML file of the same name; raises PlanError, naming file and field."""
        path = Path(scenario_file).with_suffix(".toml")
        try:
            stored: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
            plan = msgspec.convert({"name": path.stem, **stored}, type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise PlanError(f"{path}: {error}") from error
        if plan.arrivals.shape not in CURVES:
            raise PlanError(f"{path}: no shape {plan.arrivals.shape!r}; there are {list(CURVES)}")
        return plan

    def spec(self, now: float) -> bytes:
        """The body of `PUT /v1/sales/{sale}` at this Unix time; every item has at least one unit.

        With a pre-queue the sale opens by itself, and buyers may join at once.
        """
        whole = sum(item.stock for item in self.sale.items)
        items = [
            {
                "sku": item.sku,
                "price": {"amount": 4900, "currency": "EUR"},
                "stock": max(1, round(self.sale.stock * item.stock / whole)),
            }
            for item in self.sale.items
        ]
        spec: dict[str, Any] = {
            "hold_seconds": self.sale.hold_seconds,
            "per_buyer_limit": self.sale.per_buyer_limit,
            "items": items,
        }
        if self.room is not None:
            spec["waiting_room"] = {
                "max_active_buyers": self.room.max_active_buyers,
                "admission_seconds": self.room.admission_seconds,
                "order": self.room.order,
            }
            if self.room.prequeue_seconds:
                spec["waiting_room"]["prequeue_at"] = _instant(now)
                spec["opens_at"] = _instant(now + self.room.prequeue_seconds)
        return msgspec.json.encode(spec)

    @property
    def opens_by_itself(self) -> bool:
        """Whether the sale has an opening time, and so needs no call to open."""
        return self.room is not None and self.room.prequeue_seconds > 0


def _instant(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
