"""The reconciler's process: all duties side by side, each at its own pace, until it is stopped."""

import asyncio
from collections.abc import Callable

import structlog

from config.settings import Settings
from config.waiting import Spaced, cancelled
from gateway.process.scrape import scraped
from reconciler.comparing.balanced import Balanced
from reconciler.comparing.compare import CompareConfig
from reconciler.context import Context, open_context
from reconciler.duties.blocks import Blocks
from reconciler.duties.directory import Directory
from reconciler.duties.expire import Expire, ExpireConfig
from reconciler.duties.reconcile import Reconcile
from reconciler.duties.recover import Recover, RecoverConfig
from reconciler.duties.retire import Retire, RetireConfig
from reconciler.duties.sights import Sights
from reconciler.duties.trim import Trim, TrimConfig
from reconciler.duties.window import Window, WindowConfig
from reconciler.keeping.leadership import SALES_CHANNEL, Leadership
from reconciler.keeping.metrics import ReconcilerMetrics
from reconciler.keeping.periodic import Duty, Keeper

# A duty that still runs this long after the stop is cancelled: every duty is repeatable.
STOP_SECONDS = 3.0
# The first of many changed sales is seen to at once, the others together: a turn of all duties for
# each of a thousand sales that are opened would take as long as the opening.
SALES_GAP_SECONDS = 0.25
# A lead that cannot be given up in this time ends by itself soon after.
GIVE_UP_SECONDS = 1.0

_log = structlog.get_logger()


def make_duties(
    settings: Settings,
    context: Context,
    directory: Directory,
    sights: Sights,
    leads: Callable[[], bool],
) -> tuple[Duty, ...]:
    """Every duty of the process. Raises ValueError for settings that a duty cannot keep."""
    own = settings.reconciler
    compare = CompareConfig(interval_seconds=own.compare_interval_seconds)
    balanced = Balanced(compare)
    return (
        directory,
        Expire(
            context.store,
            directory,
            ExpireConfig(own.expire_interval_milliseconds / 1000, own.expire_batch),
            leads,
        ),
        Trim(
            context,
            directory,
            TrimConfig(
                own.trim_interval_seconds,
                settings.inventory.outbox_keep_seconds,
                settings.inventory.outbox_keep_events,
            ),
        ),
        Window(context, sights, WindowConfig()),
        Blocks(context.ledger),
        Retire(context, RetireConfig()),
        Recover(context, sights, balanced, RecoverConfig()),
        Reconcile(context, sights, balanced, compare),
    )


def always() -> bool:
    """What a duty that is safe in any number of processes may do."""
    return True


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop`. Raises DurabilityMismatch or ValueError where the settings do not fit."""
    async with open_context(settings) as context:
        directory = Directory(context.ledger)
        sights = Sights(context.store, directory)
        keepers: list[Keeper] = []
        metrics = ReconcilerMetrics()

        def wake_all() -> None:
            sights.outdate()
            for keeper in keepers:
                keeper.wake()

        sales_changed = Spaced(wake_all, SALES_GAP_SECONDS)

        def noticed(channel: str) -> None:
            if channel == SALES_CHANNEL:
                sales_changed()
            else:
                wake_all()

        leadership = Leadership(settings.postgres, context.fence.claim, noticed)
        metrics.active.set_function(leads := lambda: leadership.leads)
        metrics.lease_seconds.set_function(lambda: leadership.left_seconds)
        keepers += [
            Keeper(duty, leads if duty.needs_lead else always, metrics)
            for duty in make_duties(settings, context, directory, sights, leads)
        ]
        tasks = [asyncio.create_task(keeper.keep()) for keeper in keepers]
        # The lead is given up last: the next leader begins when this one has ended.
        duties_ended = asyncio.Event()
        leading = asyncio.create_task(leadership.keep(duties_ended))
        _log.info("reconciler_started", duties=len(keepers))
        with scraped(settings.metrics, metrics.registry):
            await stop.wait()
        for keeper in keepers:
            keeper.stop()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        duties_ended.set()
        await asyncio.wait((leading,), timeout=GIVE_UP_SECONDS)
        await cancelled(leading)
        _log.info("reconciler_stopped")
