"""Requests of the gateway to other processes, and the bounded wait for their answers.

A request is a row and a NOTIFY; the process that does the work writes its answer into the row.
"""

from collections.abc import Awaitable, Callable

from config.waiting import poll_until

WAIT_SECONDS = 20.0
POLL_FIRST_SECONDS = 0.02
POLL_MOST_SECONDS = 0.5


async def answered(
    condition: Callable[[], Awaitable[bool]], wait_seconds: float | None = None
) -> bool:
    """Whether the condition (a row has its answer) became true within WAIT_SECONDS.

    `wait_seconds` shortens the wait; None leaves it as it is.
    """
    seconds = WAIT_SECONDS if wait_seconds is None else min(wait_seconds, WAIT_SECONDS)
    return await poll_until(
        condition, seconds, first_seconds=POLL_FIRST_SECONDS, most_seconds=POLL_MOST_SECONDS
    )
