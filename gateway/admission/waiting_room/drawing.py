"""Holding the draw: who is in it is fixed, the ledger is told, then the places are set."""

import asyncio

from gateway.admission.waiting_room.checkpoints import Checkpoints
from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.store import RoomStore
from gateway.inventory.errors import Recovering


async def hold_draw(store: RoomStore, checkpoints: Checkpoints, sale_id: str, seed: bytes) -> None:
    """Hold the draw, or finish one that was begun; several workers at once do the same.

    Raises InventoryError; nobody is called before it is done.
    """
    count, placed = await store.begin_draw(sale_id)
    if placed:
        return
    noted = await checkpoints.note_draw(sale_id, count)
    if noted != count:
        raise Recovering(f"the ledger knows a draw of {noted}, Redis one of {count}")
    gone = await store.read_gone(sale_id, count)
    by_place = await asyncio.to_thread(gone_by_place, Draw(seed, count), gone)
    await store.commit_draw(sale_id, count, by_place)


def gone_by_place(draw: Draw, gone: bytes) -> bytes:
    """From bits by number to bits by place."""
    places = bytearray(draw.count // 8 + 1)
    for number in range(1, draw.count + 1):
        byte, bit = divmod(number, 8)
        if byte < len(gone) and gone[byte] & (0x80 >> bit):
            place = draw.place_of(number)
            places[place // 8] |= 0x80 >> place % 8
    return bytes(places)
