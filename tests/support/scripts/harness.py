"""Calls the assembled scripts with EVALSHA, as the store does, and looks at every key afterwards.

The partition's clock is TIME but never earlier than the last time it gave; `freeze` makes use of
that: with a last time ahead of TIME the clock stands still, and a test can put it on a deadline to
the millisecond.
"""

import contextlib
from collections.abc import Iterator, Mapping

import msgspec
import redis

from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId, bucket_keys, partition_keys
from gateway.inventory.outcomes import AdjustReply, EdgeReply, ReserveReply
from gateway.inventory.store import ExpireReply
from gateway.inventory.types import Reservation
from lua.loader import Script, load_scripts
from tests.support.scripts.answers import Answer, SnapshotAnswer, Step
from tests.support.scripts.sale import Ask, Lines, Sale, token
from tests.support.scripts.state import (
    PartitionState,
    check_state,
    contents,
    read_state,
    run,
    writes,
)

SCRIPTS = load_scripts()
RUN_ID = "a" * 40
HOUR_MS = 3_600_000
_pack = msgspec.msgpack.encode


class Rig:
    """One partition in a real server, under the scripts."""

    def __init__(self, client: redis.Redis, scripts: Mapping[str, Script] = SCRIPTS) -> None:
        self.client = client
        self.scripts = scripts
        self.sale = Sale()
        self.epoch = 1
        self.run_id = RUN_ID
        run(client, "FLUSHALL")
        for script in scripts.values():
            assert run(client, "SCRIPT", "LOAD", script.source) == script.sha.encode()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The partition's six keys."""
        return partition_keys(PartitionId(self.sale.sale_id, self.sale.number))

    @property
    def bucket_keys(self) -> tuple[bytes, ...]:
        """The two keys of the rate limit."""
        return bucket_keys(PartitionId(self.sale.sale_id, self.sale.number))

    @staticmethod
    def pack(value: object) -> bytes:
        """An argument."""
        return _pack(value)

    def raw(
        self,
        name: str,
        *arguments: bytes,
        keys: tuple[bytes, ...] | None = None,
        client: redis.Redis | None = None,
    ) -> Answer:
        """One EVALSHA with exactly these arguments."""
        given = self.keys if keys is None else keys
        sha = self.scripts[name].sha
        reply = run(client or self.client, "EVALSHA", sha, len(given), *given, *arguments)
        return msgspec.msgpack.decode(reply, type=Answer)

    def call(self, name: str, *arguments: bytes) -> Answer:
        """One EVALSHA behind the fence."""
        return self.raw(name, self.run_id.encode(), b"%d" % self.epoch, *arguments)

    # -- the scripts ------------------------------------------------------------------------------

    def load(self, sale: Sale) -> str:
        """Load a sale as it is."""
        self.sale = sale
        return self.call("load", sale.config()).read(tuple[str])[0]

    def open(self, sale: Sale) -> None:
        """Load a sale, open it and stop its clock."""
        assert self.load(sale) == "loaded"
        assert self.set_state("open") == ("changed", "scheduled")
        self.freeze()

    def reserve(self, *asks: Ask) -> tuple[ReserveReply, ...]:
        """A batch, numbered from 0."""
        return self.replies(self.call_reserve(*asks))

    def call_reserve(self, *asks: Ask) -> Answer:
        """A batch under the sale's rate limit, where it has one."""
        batch = self.pack_asks(*asks)
        if self.sale.rate is None:
            return self.call("reserve", batch)
        keys = self.keys + self.bucket_keys
        head = (self.run_id.encode(), b"%d" % self.epoch)
        return self.raw("reserve", *head, batch, _pack(self.sale.rate), keys=keys)

    @staticmethod
    def replies(answer: Answer) -> tuple[ReserveReply, ...]:
        """The replies as the store returns them."""
        replies = answer.read(tuple[ReserveReply, ...])
        for reply, remaining in zip(replies, answer.remaining or (-1,) * len(replies), strict=True):
            msgspec.structs.force_setattr(reply, "remaining", remaining)
        return replies

    def pack_asks(self, *asks: Ask) -> bytes:
        """The third argument of `reserve`."""
        return _pack(
            [
                (
                    *(number, token(a.name), a.buyer, a.fingerprint, self.sale.triples(a.lines)),
                    *(a.admission, a.admission_ends_at, a.metered),
                )
                for number, a in enumerate(asks)
            ]
        )

    def hold(self, name: str, lines: Lines = (("tee", 1),), buyer: str = "ann") -> Reservation:
        """A reserve that must be accepted."""
        (reply,) = self.reserve(Ask(name, buyer, lines))
        assert reply.outcome == "accepted", reply
        assert isinstance(reply.detail, Reservation)
        return reply.detail

    def confirm(self, name: str, payment: str = "pay-1", lines: Lines = ()) -> EdgeReply:
        """Whole, or the lines named."""
        return self._edge("confirm", token(name), payment, self.sale.triples(lines))

    def cancel(self, name: str, actor: str = "ann") -> EdgeReply:
        """Cancel as this actor."""
        return self._edge("cancel", token(name), actor)

    def extend(self, name: str, milliseconds: int, key: str = "") -> EdgeReply:
        """Ask for a later deadline; `key` by name, empty for a call without a key."""
        return self._edge("extend", token(name), milliseconds, token(key) if key else "")

    def return_units(
        self,
        name: str,
        key: str = "key-1",
        lines: Lines = (),
        *,
        restock: bool = True,
        fingerprint: str = "return-1",
    ) -> EdgeReply:
        """All that is left, or the lines named."""
        selected = self.sale.triples(lines)
        arguments = (token(name), token(key), selected, restock, "refund", fingerprint)
        return self._edge("return_units", *arguments)

    def adjust(
        self,
        sku: str,
        delta: int,
        location: str = "default",
        *,
        preview: bool = False,
        once: tuple[str, str] = ("", ""),
    ) -> AdjustReply:
        """As `ops`, because of a `recount`; `once`: the call's key and fingerprint."""
        account = self.sale.account_number(sku, location)
        key, fingerprint = once
        named = token(key) if key else ""
        request = (account, delta, "recount", "ops", preview, named, fingerprint)
        return self.call("adjust", _pack(request)).read(AdjustReply)

    def set_state(self, to: str, sku: str | None = None) -> tuple[str, str]:
        """Returns the outcome and the state before."""
        item = 0 if sku is None else self.sale.item_number(sku)
        return self.call("set_state", _pack((to, item, "ops"))).read(tuple[str, str])

    def expire(self, most: int = 100) -> tuple[int, int, int]:
        """Expired, still due, next deadline on the wall clock."""
        return self.expire_reply(most)[:3]

    def expire_reply(self, most: int) -> tuple[int, int, int, int]:
        """As `expire`, and how many holds have lost their record."""
        reply = self.call("expire", b"%d" % most).read(ExpireReply)
        return reply.expired, reply.still_due, reply.next_deadline, reply.without_record

    def trim(self, sequence: int) -> tuple[int, int]:
        """Returns the events trimmed and the watermark."""
        return self.call("trim", b"%d" % sequence).read(tuple[int, int])

    def snapshot(self) -> SnapshotAnswer:
        """Counters and position."""
        return self.raw("snapshot").read(SnapshotAnswer)

    def read(self, *names: str) -> tuple[Reservation | None, ...]:
        """The reservations of these tokens, by name; None where there is none."""
        answer = self.call("read", _pack([token(name) for name in names]))
        found = answer.read(tuple[Reservation | bool, ...])
        assert True not in found
        return tuple(r if isinstance(r, Reservation) else None for r in found)

    def recover(self, run_id: str, epoch: int, closed: Position, alive_at: int) -> Answer:
        """Recover as the reconciler does for the server run `run_id`."""
        request = _pack((closed.epoch, closed.sequence, alive_at))
        return self.raw("recover", run_id.encode(), b"%d" % epoch, request)

    def _edge(self, name: str, *request: object) -> EdgeReply:
        return self.call(name, _pack(request)).read(EdgeReply)

    # -- the clock --------------------------------------------------------------------------------

    def time_ms(self) -> int:
        """The server's TIME."""
        seconds, microseconds = run(self.client, "TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def freeze(self) -> None:
        """Let the partition's clock stand still, an hour ahead of TIME."""
        self.set_clock(self.time_ms() + HOUR_MS)

    def set_clock(self, wall_ms: int) -> None:
        """The last time the partition gave, which it will give again if TIME is not there yet."""
        run(self.client, "HSET", self.keys[0], "last_time", wall_ms)

    def advance(self, milliseconds: int) -> None:
        """Move a frozen clock."""
        run(self.client, "HINCRBY", self.keys[0], "last_time", milliseconds)

    @property
    def clock(self) -> int:
        """Where the frozen clock stands."""
        return int(run(self.client, "HGET", self.keys[0], "last_time"))

    # -- looking at it ----------------------------------------------------------------------------

    def state(self) -> PartitionState:
        """Every key, decoded and checked against the others."""
        state = read_state(self.client, self.keys)
        check_state(state)
        return state

    @contextlib.contextmanager
    def step(self) -> Iterator[Step]:
        """What the block does to the partition."""
        before = self.state()
        step = Step(before, before)
        yield step
        step.after = self.state()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """The block writes nothing into the server, not even the value that is already there."""
        before, counted = contents(self.client), writes(self.client)
        yield
        assert contents(self.client) == before
        assert writes(self.client) == counted

    def numbered(self, sequence: int, epoch: int = 1) -> dict[str, object]:
        """The common fields of an event at the frozen clock's time."""
        partition = f"{self.sale.sale_id}:{self.sale.number}"
        return {
            "v": 1,
            "event_id": f"{partition}:{epoch}-{sequence}",
            "sale_id": self.sale.sale_id,
            "partition": self.sale.number,
            "epoch": epoch,
            "sequence": sequence,
            "occurred_at": self.clock,
        }

    def reservation_id(self, name: str) -> str:
        """As events and callers see it."""
        return f"{self.sale.sale_id}.{self.sale.number}.{token(name)}"

    def line(self, sku: str, quantity: int, location: str = "default") -> dict[str, object]:
        """An event's line."""
        price = self.sale.items[self.sale.item_number(sku) - 1].unit_price
        return {"sku": sku, "location": location, "quantity": quantity, "unit_price": price}
