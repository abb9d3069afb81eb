"""Duty: the next block of the ledger's large tables is there before its first sale.

Otherwise the gateway makes it when that sale is written down, and the call takes as long.
"""

from typing import ClassVar

import asyncpg

from reconciler.context import QUERIES
from reconciler.keeping.notices import Notices

# Half a block is left then: 500 sales are not written down in this time.
LOOK_SECONDS = 2.0
# Without the right to make tables there is nothing to do but to say so.
NOT_ALLOWED_SECONDS = 3600.0


class Blocks:
    """Makes the next block when the newest is half full."""

    name: ClassVar[str] = "blocks"
    needs_lead: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 30.0

    def __init__(self, ledger: asyncpg.Pool) -> None:
        self._ledger = ledger
        self._notices = Notices()

    async def run_once(self) -> float:
        """At most one block: the next one."""
        try:
            await self._ledger.execute(QUERIES["add_next_block"])
        except asyncpg.InsufficientPrivilegeError as error:
            self._notices.warn("block_not_made_ahead", "ledger", error=str(error))
            return NOT_ALLOWED_SECONDS
        return LOOK_SECONDS
