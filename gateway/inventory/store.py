"""The scripts as typed methods: one method for each script and edge of the state machine.

Every mutating call carries the server's run id (the pool adds it) and the epoch this store knows.
On `fenced` from the trusted run the store learns the newer epoch and repeats the call once; any
other fence, and any missing key, raises Recovering.

What changes a partition by a ledger's word may name that ledger (`by`): it is then refused with
Recovering where another ledger counts (gateway/inventory/redis/ledger_fence.py).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
from msgspec.structs import force_setattr

from gateway.inventory.errors import PartitionLost, Recovering, ScriptFailure
from gateway.inventory.events import Position
from gateway.inventory.keys import LEDGER_KEY, PartitionId, bucket_keys, partition_keys
from gateway.inventory.outcomes import AdjustReply, EdgeReply, ReserveReply
from gateway.inventory.redis.looks import Sight, look
from gateway.inventory.redis.pool import MisroutedReply, ScriptPool
from gateway.inventory.types import (
    NO_LINES_ASKED,
    AccountCounters,
    AskedLines,
    BuyerRate,
    ClosedEpoch,
    RepairRequest,
    Reservation,
    ReserveRequest,
    RestoreStage,
    Snapshot,
)
from gateway.process.ledger_identity import LedgerIdentity

Result = TypeVar("Result")

FIRST_EPOCH = 1
_encode = msgspec.msgpack.Encoder().encode


class _Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A script's reply. `ok`: epoch, wall_ms, shift_ms, result and, under a rate limit, the
    requests that each buyer has left. `fenced`: epoch, whether the run is the trusted one.
    `ledger_fenced`: the ledger that counts. `recovering` and `malformed`: what is missing or wrong.
    """

    status: str
    detail: int | str
    wall_ms: int | bool = 0
    shift_ms: int = 0
    result: msgspec.Raw = msgspec.Raw(b"")
    remaining: tuple[int, ...] = ()


class AdjustKey(NamedTuple):
    """What makes a repeated adjustment the same adjustment: the call's key (22 characters), and a
    fingerprint of what the call asks for.
    """

    key: str
    fingerprint: str


NO_ADJUST_KEY = AdjustKey("", "")


class ExpireReply(msgspec.Struct, frozen=True, array_like=True):
    """`next_deadline` is on the wall clock, 0 where nothing is held. `without_record`: holds whose
    record is lost or damaged, which only a repair from the ledger brings back. `ahead_ms`: by how
    much the partition's wall clock is ahead of the server's. `hold_ms`: how long a new hold lasts.
    `read_at`: the partition's wall clock at this reply.
    """

    expired: int
    still_due: int
    next_deadline: int
    without_record: int
    ahead_ms: int
    hold_ms: int
    read_at: int = 0

    @property
    def quiet_ms(self) -> int:
        """For how long no hold can become due, those that are made from now on included."""
        if self.still_due:
            return 0
        until_next = self.next_deadline - self.read_at if self.next_deadline else self.hold_ms
        return max(0, min(until_next, self.hold_ms))


class RebaseReply(msgspec.Struct, frozen=True, array_like=True):
    """`rebased` or `in_step`, and by how much the partition's wall clock was ahead."""

    outcome: str
    ahead_ms: int


class TrimReply(msgspec.Struct, frozen=True, array_like=True):
    """The reply of trim: events dropped, and the ledger's sequence as the partition has it."""

    trimmed: int
    ledger_sequence: int


class RepairReply(msgspec.Struct, frozen=True, array_like=True):
    """The reply of repair: its outcome, and the partition's sequence afterwards."""

    outcome: str
    sequence: int


class _SnapshotReply(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    state: str
    run_id: str
    ledger_sequence: int
    outbox_length: int
    due_holds: int
    reservations: int
    accounts: tuple[AccountCounters, ...]
    paused_skus: tuple[str, ...]


_envelope = msgspec.msgpack.Decoder(_Envelope)
_reserve_replies = msgspec.msgpack.Decoder(tuple[ReserveReply, ...])
_edge_reply = msgspec.msgpack.Decoder(EdgeReply)
_adjust_reply = msgspec.msgpack.Decoder(AdjustReply)
_expire_reply = msgspec.msgpack.Decoder(ExpireReply)
_rebase_reply = msgspec.msgpack.Decoder(RebaseReply)
_trim_reply = msgspec.msgpack.Decoder(TrimReply)
_repair_reply = msgspec.msgpack.Decoder(RepairReply)
_snapshot_reply = msgspec.msgpack.Decoder(_SnapshotReply)
_words = msgspec.msgpack.Decoder(tuple[str, ...])
_reservations = msgspec.msgpack.Decoder(tuple[Reservation | bool, ...])


class ReservationStore:
    """Calls the scripts; safe for concurrent use by the tasks of one event loop."""

    def __init__(self, pool: ScriptPool, buyer_rate: BuyerRate | None = None) -> None:
        """`pool` may still be connecting; `buyer_rate` None: no rate limit per buyer."""
        self._pool = pool
        self._buyer_rate = None if buyer_rate is None else _encode(buyer_rate)
        self._epochs: dict[PartitionId, int] = {}

    async def load(self, partition: PartitionId, config: bytes, epoch: int = FIRST_EPOCH) -> str:
        """Load a partition; returns `loaded`, `already` (with this config) or `other` (another)."""
        envelope = await self._call("load", partition, epoch, config)
        return _words.decode(envelope.result)[0]

    async def reserve(
        self, partition: PartitionId, requests: Sequence[ReserveRequest]
    ) -> tuple[ReserveReply, ...]:
        """Decide a batch; returns the replies in order, each checked by its request's number."""

        def decode(envelope: _Envelope) -> tuple[ReserveReply, ...]:
            replies = _reserve_replies.decode(envelope.result)
            if len(replies) != len(requests):
                raise MisroutedReply(f"{len(replies)} replies to {len(requests)} requests")
            for request, reply in zip(requests, replies, strict=True):
                if request.number != reply.number:
                    raise MisroutedReply(f"reply {reply.number} instead of {request.number}")
            if envelope.remaining:
                for reply, remaining in zip(replies, envelope.remaining, strict=True):
                    force_setattr(reply, "remaining", remaining)
            return replies

        batch = _encode(requests)
        if self._buyer_rate is None:
            return await self._fenced("reserve", partition, (batch,), decode)
        return await self._fenced(
            "reserve", partition, (batch, self._buyer_rate), decode, bucket_keys(partition)
        )

    async def confirm(
        self,
        partition: PartitionId,
        token: str,
        payment_reference: str,
        lines: AskedLines = NO_LINES_ASKED,
    ) -> EdgeReply:
        """Held → confirmed; `lines`: a part of the reservation, none for the whole."""
        return await self._edge("confirm", partition, token, payment_reference, lines)

    async def cancel(self, partition: PartitionId, token: str, actor: str) -> EdgeReply:
        """Held → cancelled."""
        return await self._edge("cancel", partition, token, actor)

    async def extend(
        self, partition: PartitionId, token: str, milliseconds: int, key: str = ""
    ) -> EdgeReply:
        """Move the deadline later, within the sale's allowance. With a key (22 characters) a
        repeated call is `replayed`; without a key a repeated call extends again.
        """
        return await self._edge("extend", partition, token, milliseconds, key)

    async def return_units(
        self,
        partition: PartitionId,
        token: str,
        return_key: str,
        lines: AskedLines,
        *,
        restock: bool,
        reason: str,
        fingerprint: str,
    ) -> EdgeReply:
        """Return units of a confirmed reservation; without lines all units not yet returned."""
        return await self._edge(
            "return_units", partition, token, return_key, lines, restock, reason, fingerprint
        )

    async def adjust(
        self,
        partition: PartitionId,
        account: int,
        delta: int,
        reason: str,
        actor: str,
        *,
        preview: bool = False,
        once: AdjustKey = NO_ADJUST_KEY,
    ) -> AdjustReply:
        """Add units to an account, or take units out. With a key a repeated call is `replayed`;
        without a key a repeated call adjusts again.

        A preview makes the decision and changes nothing: its outcome is then `would_adjust`.
        """
        return await self._fenced(
            "adjust",
            partition,
            (_encode((account, delta, reason, actor, preview, *once)),),
            lambda envelope: _adjust_reply.decode(envelope.result),
        )

    async def set_state(
        self, partition: PartitionId, to: str, item: int = 0, actor: str = "system"
    ) -> tuple[str, str]:
        """Set a state; returns `changed`, `unchanged` or `invalid_state`, and the state before."""
        words = await self._fenced(
            "set_state",
            partition,
            (_encode((to, item, actor)),),
            lambda envelope: _words.decode(envelope.result),
        )
        return words[0], words[1]

    async def expire(self, partition: PartitionId, most: int) -> ExpireReply:
        """Return at most `most` due holds to stock."""
        return await self._fenced(
            "expire",
            partition,
            (b"%d" % most,),
            lambda envelope: msgspec.structs.replace(
                _expire_reply.decode(envelope.result), read_at=int(envelope.wall_ms)
            ),
        )

    async def rebase(self, partition: PartitionId, most_ms: int) -> RebaseReply:
        """Take the server's clock again where the partition's is ahead by more than `most_ms`."""
        return await self._fenced(
            "rebase",
            partition,
            (b"%d" % most_ms,),
            lambda envelope: _rebase_reply.decode(envelope.result),
        )

    async def snapshot(self, partition: PartitionId, *, at_run: str | None = None) -> Snapshot:
        """Counters and position, read in one step from any server run, trusted or not.

        `at_run`: read only from this run of the server, else raise Recovering.
        """
        envelope = await self._call("snapshot", partition, self._epoch(partition), at_run=at_run)
        reply = _snapshot_reply.decode(envelope.result)
        return Snapshot(
            epoch=int(envelope.detail),
            read_at=int(envelope.wall_ms),
            shift_ms=envelope.shift_ms,
            **msgspec.structs.asdict(reply),
        )

    async def look(self, partitions: Sequence[PartitionId]) -> list[Sight | None]:
        """A sight of each partition, in order; None where a key is missing or of another type."""
        return await look(self._pool, partitions)

    async def read(
        self, partition: PartitionId, tokens: Sequence[str]
    ) -> tuple[Reservation | None, ...]:
        """Reservations by token, None for a token without a reservation; at most 1,000.

        Due holds among them are expired by this call: a state that is returned has its event.
        """

        def decode(envelope: _Envelope) -> tuple[Reservation | None, ...]:
            found = _reservations.decode(envelope.result)
            return tuple(r if isinstance(r, Reservation) else None for r in found)

        return await self._fenced("read", partition, (_encode(tokens),), decode)

    async def trim(
        self,
        partition: PartitionId,
        ledger: Position,
        kept: Position | None = None,
        *,
        by: LedgerIdentity | None = None,
    ) -> TrimReply:
        """Store the ledger's position in the partition; drop events below it and `kept`."""
        kept = ledger if kept is None else kept
        envelope = await self._call(
            *("trim", partition, ledger.epoch),
            *(b"%d" % ledger.sequence, b"%d-%d" % (kept.epoch, kept.sequence)),
            by=by,
        )
        return _trim_reply.decode(envelope.result)

    async def recover(
        self,
        partition: PartitionId,
        epoch: int,
        closed: Position,
        alive_at: int,
        closed_epochs: Sequence[ClosedEpoch] = (),
        *,
        at_run: str | None = None,
        by: LedgerIdentity | None = None,
    ) -> str:
        """Trust this run from `epoch` on; returns `recovered`, `already`, `differs` or `newer`.
        `closed_epochs`: what the partition is to remember, oldest first, at most CLOSED_EPOCHS_MAX.
        """
        request = _encode((closed.epoch, closed.sequence, alive_at, closed_epochs))
        envelope = await self._call("recover", partition, epoch, request, at_run=at_run, by=by)
        return _words.decode(envelope.result)[0]

    async def restore(
        self,
        partition: PartitionId,
        epoch: int,
        stage: RestoreStage,
        *,
        at_run: str | None = None,
        by: LedgerIdentity | None = None,
    ) -> str:
        """Run one stage of a rebuild under `epoch`; returns `begun`, `stored`, `restored`,
        `already`, `newer`, `not_begun` or `differs`.
        """
        envelope = await self._call(
            "restore", partition, epoch, _encode(stage), at_run=at_run, by=by
        )
        return _words.decode(envelope.result)[0]

    async def repair(
        self,
        partition: PartitionId,
        epoch: int,
        request: RepairRequest,
        *,
        by: LedgerIdentity | None = None,
    ) -> RepairReply:
        """Set one value to the ledger's, only in the epoch in which it was compared."""
        envelope = await self._call("repair", partition, epoch, _encode(request), by=by)
        return _repair_reply.decode(envelope.result)

    async def _edge(self, name: str, partition: PartitionId, *request: object) -> EdgeReply:
        token = request[0]

        def decode(envelope: _Envelope) -> EdgeReply:
            reply = _edge_reply.decode(envelope.result)
            if reply.reservation is not None and reply.reservation.token != token:
                raise MisroutedReply(f"reply about {reply.reservation.token} instead of {token}")
            return reply

        return await self._fenced(name, partition, (_encode(request),), decode)

    def _epoch(self, partition: PartitionId) -> int:
        return self._epochs.get(partition, FIRST_EPOCH)

    async def _fenced(
        self,
        name: str,
        partition: PartitionId,
        arguments: tuple[bytes, ...],
        decode: Callable[[_Envelope], Result],
        more_keys: tuple[bytes, ...] = (),
    ) -> Result:
        """Call with the epoch this store knows, and once more with a newer epoch it learns."""
        try:
            return await self._call_decoded(
                name, partition, self._epoch(partition), arguments, decode, more_keys=more_keys
            )
        except _NewerEpoch as lesson:
            self._epochs[partition] = lesson.epoch
        return await self._call_decoded(
            name, partition, self._epoch(partition), arguments, decode, more_keys=more_keys
        )

    async def _call(
        self,
        name: str,
        partition: PartitionId,
        epoch: int,
        *arguments: bytes,
        at_run: str | None = None,
        by: LedgerIdentity | None = None,
    ) -> _Envelope:
        keys: tuple[bytes, ...] = ()
        if by is not None:
            keys, arguments = (LEDGER_KEY,), (*arguments, str(by).encode())
        return await self._call_decoded(name, partition, epoch, arguments, _whole, at_run, keys)

    async def _call_decoded(
        self,
        name: str,
        partition: PartitionId,
        epoch: int,
        arguments: tuple[bytes, ...],
        decode: Callable[[_Envelope], Result],
        at_run: str | None = None,
        more_keys: tuple[bytes, ...] = (),
    ) -> Result:
        def checked(raw: bytes) -> Result:
            envelope = _envelope.decode(raw)
            if envelope.status != "ok":
                raise _refusal(name, partition, epoch, envelope)
            return decode(envelope)

        return await self._pool.call(
            name,
            partition_keys(partition) + more_keys,
            b"%d" % epoch,
            *arguments,
            decode=checked,
            run_id=at_run,
        )


class _NewerEpoch(Recovering):
    """The trusted run is in a newer epoch than the caller knew."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the partition is in epoch {epoch}")
        self.epoch = epoch


def _whole(envelope: _Envelope) -> _Envelope:
    return envelope


def _refusal(name: str, partition: PartitionId, epoch: int, envelope: _Envelope) -> Exception:
    detail = envelope.detail
    if envelope.status == "fenced" and isinstance(detail, int):
        if envelope.wall_ms and detail > epoch:
            return _NewerEpoch(detail)
        return Recovering(f"{partition}: this server run is not the trusted one")
    if envelope.status == "ledger_fenced":
        return Recovering(f"{partition}: {detail or 'no ledger'} counts, not the caller's ledger")
    if envelope.status == "recovering":
        return PartitionLost(f"{partition}: {detail} is missing")
    return ScriptFailure(f"{name} on {partition} answered {envelope.status}: {detail}")
