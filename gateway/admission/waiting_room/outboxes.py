"""Which places have been used: read from the outboxes, where `reserve` says what it spent.

Losing sight of some events (they were trimmed before this was read) costs nothing but time: those
slots return when they lapse.
"""

from __future__ import annotations

import asyncio

import msgspec
import redis.asyncio as redis_py
from redis.exceptions import RedisError

from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from gateway.inventory.outbox import read_outbox

EVENTS_MAX = 4000


class _Spent(msgspec.Struct, frozen=True):
    """The one field of an event that matters here."""

    admission: int | None = None


_spent = msgspec.json.Decoder(_Spent)


class UsedPlaces(msgspec.Struct, frozen=True):
    """Places used since `cursors`, and the cursors to go on from."""

    places: tuple[int, ...]
    cursors: dict[int, Position]


async def read_used_places(
    client: redis_py.Redis, partitions: tuple[PartitionId, ...], cursors: dict[int, Position]
) -> UsedPlaces:
    """At most EVENTS_MAX events of each partition beyond its cursor. Raises Recovering."""
    try:
        entries = await asyncio.gather(
            *(
                read_outbox(client, each, cursors.get(each.number, Position(0, 0)), EVENTS_MAX)
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


def _admission_of(raw: bytes) -> int | None:
    try:
        return _spent.decode(raw).admission
    except msgspec.DecodeError:
        return None  # the order writer sets such an event aside and says so


def cursors_of(flat: tuple[str, ...]) -> dict[int, Position]:
    """Cursors as the room keeps them: {partition, `epoch-sequence`, ...}."""
    cursors = {}
    for index in range(0, len(flat), 2):
        epoch, _, sequence = flat[index + 1].partition("-")
        cursors[int(flat[index])] = Position(int(epoch), int(sequence))
    return cursors


def flat_cursors(cursors: dict[int, Position]) -> tuple[str, ...]:
    """The opposite of `cursors_of`."""
    pairs = ((str(n), f"{at.epoch}-{at.sequence}") for n, at in sorted(cursors.items()))
    return tuple(part for pair in pairs for part in pair)
