"""The batcher's estimate of the wait, on a clock that the test moves."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from typing import cast

import pytest

from gateway.inventory.batcher import NEWEST_SHARE, BatcherBounds, ReserveBatcher
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import ReserveReply
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import AskedLines, ReserveRequest

PARTITION = PartitionId("drop", 0)
FOUR_LINES = AskedLines((1, 0, 1, 2, 0, 1, 3, 0, 1, 4, 0, 1))
CALL_SECONDS = 1.0


class _Loop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now


class _Store:
    """Each call takes as long on the loop's clock, and notes the estimate of the wait before."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self.batcher = ReserveBatcher(
            cast("ReservationStore", self), BatcherBounds(max_batch=512, max_lines=64)
        )
        self.estimates: list[float] = []

    async def reserve(
        self, _partition: PartitionId, requests: Sequence[ReserveRequest]
    ) -> list[ReserveReply]:
        self.estimates.append(self.batcher.queue_seconds())
        self._loop.now += CALL_SECONDS
        return [ReserveReply(request.number, "sold_out", 1) for request in requests]


def test_the_wait_is_estimated_by_the_lines_that_still_wait() -> None:
    """The bound on requests alone would estimate an eighth, and sent lines count no more."""
    requests, calls = 512, 16
    with closing(_Loop()) as loop:
        store = _Store(loop)

        async def reserve_all() -> None:
            asked = [
                ReserveRequest(number, f"token-{number}", f"buyer-{number}", "print", FOUR_LINES)
                for number in range(requests)
            ]
            await asyncio.gather(*(store.batcher.enqueue(PARTITION, request) for request in asked))

        loop.run_until_complete(reserve_all())
    assert len(store.estimates) == requests * 4 / 64
    expected = [
        (requests - 16 * sent) * 4 / 64 * CALL_SECONDS * (1 - (1 - NEWEST_SHARE) ** (sent - 1))
        for sent in range(1, calls + 1)
    ]
    assert store.estimates[:calls] == pytest.approx(expected)
