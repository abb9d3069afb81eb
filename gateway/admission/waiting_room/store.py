"""The room's scripts as typed methods: one method for each `queue_*` script.

Every call carries the server's run id (the pool adds it). A room of another run, or with a missing
key, raises RoomLost: a worker that can read the ledger's checkpoint opens it again. `Moved` says
that the draw was held since the caller last read the room.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import msgspec
import redis.asyncio as redis_py
from redis.exceptions import RedisError

from gateway.admission.waiting_room.keys import BuyerDigest, room_keys
from gateway.inventory.errors import Recovering, ScriptFailure
from gateway.inventory.redis.pool import ScriptPool

Result = TypeVar("Result")
NOT_DRAWN = -1
NEVER_READ = -1  # the revision of a room that the caller has never read
NEVER_MS = 99_999_999_999_999

_encode = msgspec.msgpack.Encoder().encode


class RoomLost(Recovering):
    """Redis answered, and has no room that can be trusted."""


class Moved(Recovering):
    """The draw was held since the caller read the room; read it again."""


class Wave(msgspec.Struct, frozen=True, array_like=True):
    """Places up to `up_to`, beyond those of earlier waves, may shop until `expires_at` (ms)."""

    up_to: int
    expires_at: int
    began_at: int


class GoneBlocks(msgspec.Struct, frozen=True, array_like=True):
    """The number of gone places in each block of `size` places, from place `first` on."""

    first: int
    size: int
    counts: tuple[int, ...]


class RoomReading(msgspec.Struct, frozen=True, array_like=True):
    """A room at the instant `now` (lua/queue/include/room_state.lua). Rates are thousandths of a
    buyer per second; `drawn` is -1 before a draw, else the number of buyers in the draw. `window`:
    a bit for each called place from `window_first` on, set where the place is gone; `whole`: it
    begins with the first place not lapsed, else with the first place new to the caller, and
    `ended_places` are the older places that ended since. `ended`: the count of all ended places.
    """

    now: int
    mode: str
    opened: int
    issued: int
    serving: int
    lapsed: int
    drawn: int
    placed: int
    lost: int
    hold_until: int
    checkpointed: int
    ticked_at: int
    rate: int
    rate_limit: int
    outflow: int
    outflow_slow: int
    stock: int
    returnable: int
    revision: int
    active: int
    waves: tuple[Wave, ...]
    blocks: GoneBlocks
    cursors: tuple[str, ...]
    window_first: int
    window: str
    ended: int = 0
    whole: bool = True
    ended_places: tuple[int, ...] = ()


class Look(msgspec.Struct, frozen=True, array_like=True):
    """A reading, and the revoked buyers (digests in hex) when they have changed."""

    reading: RoomReading
    revoked: tuple[str, ...] | None = None


class JoinRequest(msgspec.Struct, frozen=True, gc=False):
    """One buyer who wants a number; `number` and `place` of the ticket shown, 0 without a ticket;
    `renew`: this place has ended and a new place is wanted.
    """

    digest: BuyerDigest
    number: int = 0
    place: int = 0
    renew: bool = False


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """The values a room starts from; see lua/queue/queue_open.lua."""

    issued: int
    serving: int
    lapsed: int
    hold_ms: int
    admission_ms: int
    rate: int
    rate_limit: int
    drawn: int
    mode: str
    existed: bool
    whole: bool


class TickRequest(msgspec.Struct, frozen=True, array_like=True):
    """The arguments of one tick; see lua/queue/queue_tick.lua."""

    interval_ms: int
    admission_ms: int = 0
    most_active: int = 0
    may_call: bool = False
    quick: bool = False
    highest_rate: int = 0
    rate_step: int = 0
    stock: int = 0
    returnable: int = 0
    checkpointed: int = 0
    used_places: tuple[int, ...] = ()
    cursors: tuple[str, ...] = ()


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    status: str
    result: msgspec.Raw = msgspec.Raw(b"")


_envelope = msgspec.msgpack.Decoder(_Envelope)


class RoomStore:
    """Calls the rooms' scripts; methods raise RoomLost, Moved, ScriptFailure and pool errors."""

    def __init__(self, pool: ScriptPool, client: redis_py.Redis) -> None:
        """`pool` runs scripts and may still be connecting; `client` reads what needs no script."""
        self._pool = pool
        self._client = client

    @property
    def keeps_every_answer(self) -> bool:
        """Whether Redis, back with its data, has every write that it ever answered."""
        return self._pool.durability == "fsync"

    async def open(self, sale_id: str, opening: Opening) -> str:
        """Make or adopt the room; returns `made`, `already`, `kept` or `resumed`."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone, keys.ended)
        return await self._call("queue_open", named, str, _encode(opening))

    async def join(
        self, sale_id: str, drawn: int, requests: Sequence[JoinRequest]
    ) -> tuple[int, ...]:
        """A number for each request, in order; 0 where the ledger must catch up first."""
        keys = room_keys(sale_id)
        buckets: dict[int, int] = {}
        flat: list[int | bool] = []
        for request in requests:
            index = buckets.setdefault(request.digest.bucket, 3 + len(buckets))
            flat += (index, request.number, request.place, request.renew)
        named = (keys.meta, keys.gone, *(keys.bucket(bucket) for bucket in buckets))
        digests = b"".join([request.digest.field for request in requests])
        numbers = await self._call(
            "queue_join", named, tuple[int, ...], b"%d" % drawn, digests, _encode(flat)
        )
        if len(numbers) != len(requests):
            raise ScriptFailure(f"{len(numbers)} numbers for {len(requests)} buyers")
        return numbers

    async def find(self, sale_id: str, digest: BuyerDigest) -> int:
        """The buyer's number, 0 for none."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone, keys.bucket(digest.bucket))
        return await self._call("queue_find", named, int, digest.field)

    async def leave(
        self, sale_id: str, drawn: int, digest: BuyerDigest, number: int, place: int, verb: str
    ) -> str:
        """`verb`: leave or revoke; returns `left`, `revoked`, `unknown` or `too_many`."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone, keys.bucket(digest.bucket), keys.revoked, keys.ended)
        numbers = (b"%d" % number, b"%d" % place)
        return await self._call(
            "queue_leave", named, str, b"%d" % drawn, digest.field, *numbers, verb.encode()
        )

    async def look(
        self, sale_id: str, revision: int, ended: int = NEVER_READ, serving: int = NEVER_READ
    ) -> Look:
        """The room's state; `revision`, `ended` and `serving`: those of the last read."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone, keys.revoked, keys.ended)
        known = (b"%d" % revision, b"%d" % ended, b"%d" % serving)
        return await self._call("queue_state", named, Look, *known)

    async def tick(self, sale_id: str, request: TickRequest) -> tuple[bool, bool]:
        """Tick the room; returns whether the tick was due and whether a checkpoint is due."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone, keys.ended)
        return await self._call("queue_tick", named, tuple[bool, bool], _encode(request))

    async def note_checkpoint(self, sale_id: str, issued: int) -> None:
        """Store in the room which number the ledger has, by a tick that is never due."""
        await self.tick(sale_id, TickRequest(interval_ms=NEVER_MS, checkpointed=issued))

    async def control(self, sale_id: str, verb: str, rate: int = 0) -> tuple[str, int]:
        """Change the room's mode or rate; returns the mode and the rate limit after it."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone)
        return await self._call(
            "queue_control", named, tuple[str, int], verb.encode(), b"%d" % rate
        )

    async def set_order(self, sale_id: str, *, draws: bool) -> None:
        """Make the room one with a draw to come, or one without; a room that calls stays."""
        keys = room_keys(sale_id)
        order = b"draw" if draws else b"fifo"
        await self._call("queue_draw", (keys.meta, keys.gone), tuple[int, int], order)

    async def begin_draw(self, sale_id: str) -> tuple[int, bool]:
        """Begin the draw; returns its count of numbers, and whether places are set already."""
        keys = room_keys(sale_id)
        drawn, placed = await self._call(
            "queue_draw", (keys.meta, keys.gone), tuple[int, int], b"begin"
        )
        return drawn, bool(placed)

    async def read_gone(self, sale_id: str, count: int) -> bytes:
        """The bitmap of gone numbers up to `count`. Raises Recovering."""
        try:
            found = await self._client.getrange(room_keys(sale_id).gone, 0, count // 8)
        except RedisError as error:
            raise Recovering(f"the bitmap of gone places cannot be read: {error}") from error
        return cast("bytes", found)  # the client decodes nothing

    async def commit_draw(self, sale_id: str, drawn: int, gone: bytes) -> None:
        """Store the bitmap of gone places; a draw whose places are set stays as it is."""
        keys = room_keys(sale_id)
        named = (keys.meta, keys.gone)
        arguments = (b"commit", b"%d" % drawn, gone)
        await self._call("queue_draw", named, tuple[int, int], *arguments)

    async def _call(
        self, script: str, keys: tuple[bytes, ...], result: type[Result], *arguments: bytes
    ) -> Result:
        return await self._pool.call(script, keys, *arguments, decode=_decoder(result))


_decoders: dict[object, Callable[[bytes], object]] = {}


def _decoder(result: type[Result]) -> Callable[[bytes], Result]:
    """The decoder of a reply: returns the result, raises the refusal's error."""
    known = _decoders.get(result)
    if known is None:
        of_result = msgspec.msgpack.Decoder(result)

        def decode(raw: bytes) -> Result:
            envelope = _envelope.decode(raw)
            match envelope.status:
                case "ok":
                    return of_result.decode(envelope.result)
                case "moved":
                    raise Moved("the draw was held meanwhile")
                case "recovering":
                    what = msgspec.msgpack.decode(envelope.result)
                    raise RoomLost(f"the waiting room cannot be trusted: {what}")
            what = msgspec.msgpack.decode(envelope.result)
            raise ScriptFailure(f"a waiting room's script got wrong arguments: {what}")

        known = _decoders[result] = decode
    return known  # type: ignore[return-value] # stored under the type it returns
