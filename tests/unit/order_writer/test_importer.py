"""The importer: which partitions are tried, how failures are told apart, and that they pause."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.settings import RedisSettings
from gateway.inventory.errors import Recovering
from gateway.inventory.events import Position
from gateway.inventory.keys import PartitionId
from order_writer.importing import importer as importing
from order_writer.importing.errors import ImportRefused
from order_writer.importing.importer import Importer
from order_writer.importing.importing import Imported
from order_writer.importing.missing import Missing
from order_writer.log.event_log import Watermark
from order_writer.metrics import WriterMetrics

AT = Position(1, 7)


def stopped(sale: str, reason: str = "gap: 1-7 has no successor") -> Watermark:
    return Watermark(PartitionId(sale, 0), AT, stopped_reason=reason)


class Rig:
    """An importer whose imports end as `outcomes` say, by sale; `tried`: which were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, object]) -> None:
        self.tried: list[str] = []
        self.metrics = WriterMetrics()
        self.importer = Importer(
            RedisSettings(), cast("Any", None), cast("Any", None), self.metrics
        )

        async def import_partition(_sources: object, partition: PartitionId) -> object:
            self.tried.append(partition.sale_id)
            outcome = outcomes[partition.sale_id]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        @asynccontextmanager
        async def store(_self: Importer) -> AsyncIterator[None]:
            yield None

        monkeypatch.setattr(importing, "import_partition", import_partition)
        monkeypatch.setattr(Importer, "_store", store)

    async def round(self, *marks: Watermark) -> None:
        self.importer.begin(marks)
        task = self.importer._task
        if task is not None:
            await asyncio.wait([task])


async def test_only_gaps_are_tried_and_a_failure_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = Imported(Missing(AT, Position(1, 9)), Position(1, 12), 3, 0)
    rig = Rig(
        monkeypatch,
        {"a": ImportRefused("no"), "b": Recovering("later"), "c": OSError("away"), "d": done},
    )
    marks = [stopped(sale) for sale in "abcd"]
    await rig.round(*marks, stopped("e", "forked: two histories"))
    assert rig.tried == ["a", "b", "c", "d"]
    assert rig.metrics.imports._value.get() == 1


async def test_what_failed_pauses_and_what_is_done_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = Imported(Missing(AT, Position(1, 9)), Position(1, 12), 3, 0)
    now = 100.0
    monkeypatch.setattr(importing, "time", SimpleNamespace(monotonic=lambda: now))
    rig = Rig(monkeypatch, {"a": ImportRefused("no"), "b": done})
    await rig.round(stopped("a"), stopped("b"))
    await rig.round(stopped("a"), stopped("b"))
    assert rig.tried == ["a", "b", "b"]
    now += importing.PAUSE_MOST_SECONDS
    await rig.round(stopped("a"))
    assert rig.tried == ["a", "b", "b", "a"]


async def test_one_import_at_a_time_and_none_after_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, {"a": None})
    rig.importer.begin([stopped("a")])
    first = rig.importer._task
    rig.importer.begin([stopped("a")])
    assert rig.importer._task is first
    await rig.importer.end()
    assert first is not None
    assert first.done()
