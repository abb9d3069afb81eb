"""One valid call of every script, on one partition where each of them would do something."""

from collections.abc import Callable

import msgspec

from tests.support.scripts.harness import Rig
from tests.support.scripts.sale import Ask, Item, Sale, token
from tests.support.scripts.state import run

Arguments = tuple[bytes, ...]

SALE = Sale(items=(Item("tee", stock=(("paris", 2), ("lyon", 4))), Item("cap")))
MUTATING = (
    "adjust",
    "cancel",
    "confirm",
    "expire",
    "extend",
    "load",
    "read",
    "rebase",
    "recover",
    "repair",
    "reserve",
    "return_units",
    "set_state",
    "trim",
)
FENCED = tuple(name for name in MUTATING if name != "recover")
EVERY = (*MUTATING, "snapshot")
PARTITION_KEYS = ("meta", "stock", "reservations", "buyers", "deadlines", "outbox")


def prepare(rig: Rig) -> None:
    """A partition with a due hold, a hold, an alone buyer's hold and a confirmed reservation."""
    rig.open(SALE)
    rig.hold("due", (("tee", 1),), buyer="dan")
    rig.advance(600_000)
    rig.hold("held", (("tee", 2), ("cap", 1)))
    rig.hold("alone", (("cap", 1),), buyer="bob")
    rig.hold("sold", (("cap", 3),))
    rig.confirm("sold")


def _repair(rig: Rig) -> tuple[object, ...]:
    """The ledger has the hold under another fingerprint."""
    record = msgspec.msgpack.decode(run(rig.client, "HGET", rig.keys[2], token("held")))
    epoch, sequence = record[1:3]
    record[8] = "ledger-1"
    return ("reservation", "7:1", "ops", token("held"), epoch, sequence, record)


_REST: dict[str, Callable[[Rig], object]] = {
    "adjust": lambda _: (1, 1, "recount", "ops", False, token("k"), "adjust-1"),
    "cancel": lambda _: (token("alone"), "bob"),
    "confirm": lambda rig: (token("held"), "pay-2", rig.sale.triples((("tee", 1),))),
    "extend": lambda _: (token("held"), 1000, token("k")),
    "read": lambda _: (token("held"), token("due")),
    "repair": _repair,
    "return_units": lambda _: (token("sold"), token("k"), (2, 0, 1), True, "refund", "return-1"),
    "set_state": lambda _: ("paused", 1, "ops"),
}


def arguments(rig: Rig, name: str) -> Arguments:
    """All of the script's arguments, for the partition of `prepare`."""
    run_id, epoch = rig.run_id.encode(), b"%d" % rig.epoch
    if name == "recover":
        return (b"b" * 40, b"2", rig.pack((1, rig.snapshot().sequence, 0)))
    if name == "snapshot":
        return ()
    if name == "load":
        return (run_id, epoch, rig.sale.config())
    if name == "expire":
        return (run_id, epoch, b"100")
    if name == "rebase":
        return (run_id, epoch, b"2000")
    if name == "trim":
        return (run_id, epoch, b"3")
    if name == "reserve":
        # Short of stock in one place, so that it sweeps; a hold forgotten, a buyer's field deleted.
        asks = (Ask("new", "cid", (("tee", 4),)), Ask("new-2", "cid", (("cap", 1),)))
        return (run_id, epoch, rig.pack_asks(*asks))
    return (run_id, epoch, rig.pack(_REST[name](rig)))
