"""What the gateway asks of other processes, and how long a call waits for the answer.

The question is a row and a NOTIFY; whoever does the work writes the answer into the row.
"""

from collections.abc import Awaitable, Callable

from config.waiting import poll_until

WAIT_SECONDS = 20.0
POLL_FIRST_SECONDS = 0.02
POLL_MOST_SECONDS = 0.5


async def answered(condition: Callable[[], Awaitable[bool]]) -> bool:
    """Whether the row was answered within WAIT_SECONDS."""
    return await poll_until(
        condition, WAIT_SECONDS, first_seconds=POLL_FIRST_SECONDS, most_seconds=POLL_MOST_SECONDS
    )
