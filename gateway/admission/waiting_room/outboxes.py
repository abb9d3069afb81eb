"""Places whose admission was used: read from the outboxes, where `reserve` writes what it spent.

Events that a room has not read stay in an outbox (reconciler/duties/trim.py) unless the room is too
far behind. Missed events cost only time: their slots return when they lapse.
"""

import asyncio
from typing import cast

import msgspec
import redis.asyncio as redis_py
from redis.exceptions import RedisError, ResponseError

from gateway.admission.waiting_room.keys import room_keys
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.redis.outbox import START, read_outbox

EVENTS_MAX = 4000


class _Spent(msgspec.Struct, frozen=True):
    """An event's `admission`, the only field that matters here."""

    admission: int | None = None


_spent = msgspec.json.Decoder(_Spent)
_flat = msgspec.msgpack.Decoder(tuple[str, ...])


class UsedPlaces(msgspec.Struct, frozen=True):
    """Places used since the former cursors, and the new cursors."""

    places: tuple[int, ...]
    cursors: dict[int, Position]


async def read_used_places(
    client: redis_py.Redis, partitions: tuple[PartitionId, ...], cursors: dict[int, Position]
) -> UsedPlaces:
    """At most EVENTS_MAX events of each partition beyond its cursor. Raises Recovering."""
    try:
        entries = await asyncio.gather(
            *(
                read_outbox(client, each, cursors.get(each.number, START), EVENTS_MAX)
                for each in partitions
            )
        )
    except RedisError as error:
        raise Recovering(f"the outbox cannot be read: {error}") from error
    places: list[int] = []
    further = dict(cursors)
    for partition, found in zip(partitions, entries, strict=True):
        for entry in found:
            if b'"admission"' in entry.raw:
                place = _admission_of(entry.raw)
                if place is not None:
                    places.append(place)
        if found:
            further[partition.number] = found[-1].position
    return UsedPlaces(tuple(places), further)


async def read_cursor(client: redis_py.Redis, partition: PartitionId) -> Position | None:
    """How far the sale's room has read a partition's outbox; None without a readable room.

    Raises RedisError.
    """
    try:
        found = await client.hget(room_keys(partition.sale_id).meta, "cursors")
        packed = cast("bytes | None", found)  # the client decodes nothing
        if packed is None:
            return None
        return cursors_of(_flat.decode(packed)).get(partition.number, START)
    except (ResponseError, msgspec.MsgspecError, ValueError):
        return None  # damaged: the next worker to read the room opens it again


def _admission_of(raw: bytes) -> int | None:
    try:
        return _spent.decode(raw).admission
    except msgspec.DecodeError:
        return None  # the order writer makes a dead letter of such an event


def cursors_of(flat: tuple[str, ...]) -> dict[int, Position]:
    """The cursors by partition, from the room's list {partition, `epoch-sequence`, ...}."""
    cursors = {}
    for index in range(0, len(flat), 2):
        epoch, _, sequence = flat[index + 1].partition("-")
        cursors[int(flat[index])] = Position(int(epoch), int(sequence))
    return cursors


def flat_cursors(cursors: dict[int, Position]) -> tuple[str, ...]:
    """The room's list of cursors; `cursors_of` reads it."""
    pairs = ((str(n), f"{at.epoch}-{at.sequence}") for n, at in sorted(cursors.items()))
    return tuple(part for pair in pairs for part in pair)
