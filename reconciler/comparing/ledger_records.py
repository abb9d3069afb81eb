"""A reservation's record in Redis, made of its rows in the ledger.

`rebuild_records` and `repair_records` begin with the columns that `record_of` reads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from gateway.inventory.errors import Recovering
from gateway.inventory.keys import PartitionId
from gateway.inventory.types import (
    ConfirmedRecord,
    ExtendedRecord,
    PlacedLines,
    Record,
    ReservationState,
    ReturnedRecord,
)

FACTS = 11  # columns before those of a line
_STATES = {state.name.lower(): state for state in ReservationState}

# Account number, then units reserved, confirmed and returned.
Line = tuple[int, int, int, int]


def token_of(partition: PartitionId, reservation_id: str) -> str:
    """The last part of a reservation's id. Raises Recovering for an id of another partition."""
    prefix = f"{partition.sale_id}.{partition.number}."
    if not reservation_id.startswith(prefix):
        raise Recovering(f"{reservation_id} is no reservation of {partition}")
    return reservation_id[len(prefix) :]


class CallKeys(NamedTuple):
    """What makes a repeated call on a reservation the same call: the keys of its returns and of its
    extensions, as its record keeps them. The ledger has them in its events alone.
    """

    of_returns: tuple[str, ...] = ()
    of_extensions: tuple[str, ...] = ()


NO_CALL_KEYS = CallKeys()


def record_of(
    row: asyncpg.Record, lines: Sequence[Line], shift_ms: int, keys: CallKeys = NO_CALL_KEYS
) -> Record:
    """The record as lua/include/record.lua has it, its deadline moved by `shift_ms`."""
    (
        _, state_name, epoch, sequence, accepted_epoch, accepted_sequence, deadline, extended_ms,
        buyer_id, fingerprint, payment_reference,
    ) = row[:FACTS]  # fmt: skip
    state = _STATES[state_name]
    amount = 2 if state is ReservationState.CONFIRMED else 1
    facts = (
        state.value, epoch, sequence, accepted_epoch, accepted_sequence, deadline + shift_ms,
        extended_ms, buyer_id, fingerprint, _flat(lines, amount),
    )  # fmt: skip
    if keys.of_extensions:
        return ExtendedRecord(*facts, payment_reference or "", _flat(lines, 3), *keys)
    if payment_reference is None:
        return Record(*facts)
    if not keys.of_returns:
        return ConfirmedRecord(*facts, payment_reference)
    return ReturnedRecord(*facts, payment_reference, _flat(lines, 3), keys.of_returns)


def _flat(lines: Sequence[Line], amount: int) -> PlacedLines:
    """The lines in the order of the accounts, without those of no units."""
    if len(lines) == 1 and lines[0][amount] > 0:
        return PlacedLines((lines[0][0], lines[0][amount]))
    return PlacedLines(
        tuple(
            value for line in sorted(lines) if line[amount] > 0 for value in (line[0], line[amount])
        )
    )
