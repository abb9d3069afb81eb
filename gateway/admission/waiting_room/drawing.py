"""Holding the draw: its numbers are fixed, the ledger stores their count, the places are set."""

import asyncio

from gateway.admission.waiting_room.checkpoints import Checkpoints
from gateway.admission.waiting_room.draw import Draw
from gateway.admission.waiting_room.store import RoomStore
from gateway.inventory.errors import Recovering


async def hold_draw(store: RoomStore, checkpoints: Checkpoints, sale_id: str, seed: bytes) -> None:
    """Hold the draw, or finish a draw that was begun; several workers may do so at once.

    Raises InventoryError. Nobody is called before the draw is complete.
    """
    count, placed = await store.begin_draw(sale_id)
    if placed:
        return
    noted = await checkpoints.note_draw(sale_id, count)
    if noted != count:
        raise Recovering(f"the ledger has a draw of {noted}, Redis a draw of {count}")
    gone = await store.read_gone(sale_id, count)
    by_place = await asyncio.to_thread(gone_by_place, Draw(seed, count), gone)
    await store.commit_draw(sale_id, count, by_place)


def gone_by_place(draw: Draw, gone: bytes) -> bytes:
    """The bitmap of gone places, from the bitmap of gone numbers."""
    places = bytearray(draw.count // 8 + 1)
    for number in range(1, draw.count + 1):
        byte, bit = divmod(number, 8)
        if byte < len(gone) and gone[byte] & (0x80 >> bit):
            place = draw.place_of(number)
            places[place // 8] |= 0x80 >> place % 8
    return bytes(places)
