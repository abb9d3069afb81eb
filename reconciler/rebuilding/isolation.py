"""How long recovery leaves a new primary alone: until the old one, cut off, writes no more.

Sentinels promote a replica when *they* do not see the primary, which clients may still see. The old
primary must stop writing when it has not heard of a replica for `min-replicas-max-lag`. Recovery
before that would close the epoch while events are still being added to it.
"""

import asyncio
import time

from config.settings import RedisSettings
from gateway.inventory.redis.durability import MIN_REPLICAS_MAX_LAG_SECONDS

# Beyond the lag itself: the server looks at it once a second, and replicas report once a second.
MARGIN_SECONDS = 2.0
ISOLATION_SECONDS = MIN_REPLICAS_MAX_LAG_SECONDS + MARGIN_SECONDS


class Isolation:
    """Counts from the moment this process first saw a run of the server."""

    def __init__(self, settings: RedisSettings) -> None:
        self._may_fail_over = settings.sentinels is not None
        self._run_id = ""
        self._since = 0.0

    async def passed(self, run_id: str) -> None:
        """Return when nobody can be writing to another primary any more; at once without Sentinels.

        Waits at most ISOLATION_SECONDS.
        """
        if not self._may_fail_over:
            return
        if run_id != self._run_id:
            self._run_id, self._since = run_id, time.monotonic()
        await asyncio.sleep(max(0.0, self._since + ISOLATION_SECONDS - time.monotonic()))
