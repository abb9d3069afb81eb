"""How often the order writer reads which partitions it follows."""

import asyncio
from typing import Any, cast

import pytest

from config.settings import Settings
from order_writer import service
from order_writer.importing.importer import Importer
from order_writer.letters.replay import Replay
from order_writer.listener import Listener
from order_writer.service import Service
from order_writer.writing.watch import Watch

AN_HOUR_SECONDS = 3600.0


async def test_many_changed_sales_are_read_about_once_and_none_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refreshes = 0

    async def counted(_: Watch) -> None:
        nonlocal refreshes
        refreshes += 1

    async def nothing(_: object) -> None:
        pass

    monkeypatch.setattr(Watch, "refresh", counted)
    monkeypatch.setattr(Watch, "compare", nothing)
    monkeypatch.setattr(Replay, "serve", nothing)
    monkeypatch.setattr(service, "REFRESH_GAP_SECONDS", AN_HOUR_SECONDS)
    listener = Listener(cast("Any", None), asyncio.Event())
    settings, none = Settings(), cast("Any", None)
    importer = Importer(settings.redis, none, none, none)
    own = Service(settings, none, listener, asyncio.Event(), importer)
    for _ in range(10):
        listener.sales_changed.set()
        await own._duties()
    assert refreshes == 1
    assert listener.sales_changed.is_set()
    monkeypatch.setattr(own, "_next_refresh", 0.0)  # the gap is over
    await own._duties()
    await own._duties()
    assert refreshes == 2
    assert not listener.sales_changed.is_set()
