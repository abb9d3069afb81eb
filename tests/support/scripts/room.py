"""A waiting room under the real scripts: calls by name, typed replies, and keys to look at."""

from typing import Any

import msgspec
import redis

from gateway.admission.waiting_room.keys import BuyerDigest, RoomKeys, buyer_digest, room_keys
from gateway.admission.waiting_room.store import (
    JoinRequest,
    Look,
    Opening,
    RoomReading,
    TickRequest,
)
from lua.loader import load_scripts

SCRIPTS = load_scripts()
SALE = "sale"
KEY = b"k" * 32
RUN = b"run-1"
NEVER_MS = 1_000_000_000
MARGIN = 1_000_000
AHEAD_MS = 3_600_000
# A bound so high that it never applies, for tests of something else.
RATE = 1_000_000_000

OPENING = Opening(
    issued=0,
    serving=0,
    lapsed=0,
    hold_ms=20_000,
    admission_ms=60_000,
    rate=RATE,
    rate_limit=0,
    drawn=0,
    mode="open",
    existed=False,
    whole=True,
)
TICK = TickRequest(
    interval_ms=0,
    admission_ms=60_000,
    most_active=10,
    may_call=True,
    quick=True,
    highest_rate=RATE,
    rate_step=0,
    stock=1000,
)


def of(buyer: str) -> BuyerDigest:
    return buyer_digest(KEY, buyer)


class Room:
    """One room on one server."""

    def __init__(self, client: redis.Redis) -> None:
        client.flushall()
        self.client = client
        self.keys: RoomKeys = room_keys(SALE)

    def call(
        self, name: str, keys: tuple[bytes, ...], *arguments: bytes, run: bytes = RUN
    ) -> list[Any]:
        """The reply as it came: the status and what follows."""
        script = SCRIPTS[name]
        raw = self.client.eval(script.source.decode(), len(keys), *keys, run, *arguments)
        assert isinstance(raw, bytes)
        return msgspec.msgpack.decode(raw, type=list[Any])

    def ok(self, name: str, keys: tuple[bytes, ...], *arguments: bytes) -> object:
        """The result of a call that succeeds."""
        status, result = self.call(name, keys, *arguments)
        assert status == "ok", (status, result)
        return result

    def open(self, opening: Opening = OPENING, run: bytes = RUN) -> str:
        keys = (self.keys.meta, self.keys.gone, self.keys.ended)
        status, word = self.call("queue_open", keys, msgspec.msgpack.encode(opening), run=run)
        assert status == "ok", word
        self.client.hset(self.keys.meta, "tokens", RATE)
        if word in {"made", "resumed"}:
            self._set_clock_ahead()
        return str(word)

    def join(self, *requests: JoinRequest | str, drawn: int = 0, run: bytes = RUN) -> list[Any]:
        """The reply to a batch; a name alone is a buyer without a ticket."""
        asked = [JoinRequest(of(r)) if isinstance(r, str) else r for r in requests]
        flat: list[int | bool] = []
        for index, request in enumerate(asked):
            flat += (3 + index, request.number, request.place, request.renew)
        keys = (self.keys.meta, self.keys.gone, *(self.keys.bucket(r.digest.bucket) for r in asked))
        digests = b"".join(r.digest.field for r in asked)
        arguments = (b"%d" % drawn, digests, msgspec.msgpack.encode(flat))
        return self.call("queue_join", keys, *arguments, run=run)

    def numbers(self, *requests: JoinRequest | str) -> list[int]:
        status, numbers = self.join(*requests)
        assert status == "ok", numbers
        return list(numbers)

    def leave(
        self, buyer: str, number: int, place: int, verb: str = "leave", drawn: int = 0
    ) -> list[Any]:
        digest = of(buyer)
        known = (self.keys.meta, self.keys.gone, self.keys.bucket(digest.bucket))
        keys = (*known, self.keys.revoked, self.keys.ended)
        numbers = (b"%d" % number, b"%d" % place)
        drawn_as = b"%d" % drawn
        return self.call("queue_leave", keys, drawn_as, digest.field, *numbers, verb.encode())

    def find(self, buyer: str) -> int:
        digest = of(buyer)
        keys = (self.keys.meta, self.keys.gone, self.keys.bucket(digest.bucket))
        found = self.ok("queue_find", keys, digest.field)
        assert isinstance(found, int)
        return found

    def tick(self, request: TickRequest = TICK, **changes: Any) -> list[bool]:
        asked = msgspec.structs.replace(request, **changes)
        reply = self.ok(
            "queue_tick",
            (self.keys.meta, self.keys.gone, self.keys.ended),
            msgspec.msgpack.encode(asked),
        )
        assert isinstance(reply, list)
        return reply

    def vouch(self) -> None:
        """The ledger has heard of every number given out so far."""
        self.tick(interval_ms=NEVER_MS, checkpointed=self.reading.issued)

    def control(self, verb: str, rate: int = 0) -> object:
        keys = (self.keys.meta, self.keys.gone)
        return self.ok("queue_control", keys, verb.encode(), b"%d" % rate)

    def draw(self, stage: bytes, *arguments: bytes) -> object:
        return self.ok("queue_draw", (self.keys.meta, self.keys.gone), stage, *arguments)

    def look(self, revision: int = -1, ended: int = -1, serving: int = -1) -> Look:
        keys = (self.keys.meta, self.keys.gone, self.keys.revoked, self.keys.ended)
        known = (b"%d" % revision, b"%d" % ended, b"%d" % serving)
        return msgspec.convert(self.ok("queue_state", keys, *known), Look)

    @property
    def reading(self) -> RoomReading:
        return self.look().reading

    def later(self, milliseconds: int) -> None:
        """Let time pass; the room's clock stands otherwise."""
        self.client.hincrby(self.keys.meta, "last_time", milliseconds)

    def _set_clock_ahead(self) -> None:
        """By more than a test takes: the room's clock, which never runs backwards, then stands."""
        meta = self.keys.meta
        for name in ("ticked_at", "last_time", "hold_until", "checkpoint_at", "mode_since"):
            self.client.hincrby(meta, name, AHEAD_MS)
        packed = self.client.hget(meta, "waves")
        assert isinstance(packed, bytes)
        waves = msgspec.msgpack.decode(packed)
        moved = [[up, end + AHEAD_MS, began + AHEAD_MS] for up, end, began in waves]
        self.client.hset(meta, "waves", msgspec.msgpack.encode(moved))
