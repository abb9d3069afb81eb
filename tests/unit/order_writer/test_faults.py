"""What the order writer says of errors that nobody has waited for."""

import asyncio
import gc
import logging

import asyncpg
import pytest

from order_writer.writing.faults import handle_lost_connection

LOST = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest.mark.parametrize(("error", "told"), [(LOST, 0), (ValueError("a defect"), 1)])
async def test_only_a_lost_connection_is_no_defect(
    error: Exception, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(handle_lost_connection)
    try:
        loop.create_future().set_exception(error)  # no reference to the future is left
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    unheard = [line for line in caplog.records if "never retrieved" in line.message]
    assert [line.levelno for line in unheard] == [logging.ERROR] * told
