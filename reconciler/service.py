"""The reconciler's process: all duties side by side, each at its own pace, until it is stopped."""

import asyncio

import structlog

from config.settings import Settings
from gateway.process.scrape import scraped
from reconciler.comparing.compare import CompareConfig
from reconciler.context import Context, open_context
from reconciler.duties.directory import Directory
from reconciler.duties.expire import Expire, ExpireConfig
from reconciler.duties.reconcile import Reconcile
from reconciler.duties.recover import Recover, RecoverConfig
from reconciler.duties.trim import Trim, TrimConfig
from reconciler.duties.window import Window, WindowConfig
from reconciler.keeping.leadership import Leadership, Role
from reconciler.keeping.metrics import ReconcilerMetrics
from reconciler.keeping.periodic import Duty, Keeper

# A duty that still runs this long after the stop is cancelled: every duty is repeatable.
STOP_SECONDS = 3.0

_log = structlog.get_logger()


def make_duties(settings: Settings, context: Context, directory: Directory) -> tuple[Duty, ...]:
    """Every duty of the process. Raises ValueError for settings that a duty cannot keep."""
    own = settings.reconciler
    return (
        directory,
        Expire(
            context.store,
            directory,
            ExpireConfig(own.expire_interval_milliseconds / 1000, own.expire_batch),
        ),
        Trim(context, TrimConfig(own.trim_interval_seconds)),
        Window(context, WindowConfig()),
        Recover(context, RecoverConfig()),
        Reconcile(context, CompareConfig(interval_seconds=own.compare_interval_seconds)),
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop`. Raises DurabilityMismatch or ValueError where the settings do not fit."""
    async with open_context(settings) as context:
        directory = Directory(context.ledger)
        keepers: list[Keeper] = []
        metrics = ReconcilerMetrics()

        def wake_all(_channel: str) -> None:
            for keeper in keepers:
                keeper.wake()

        leadership = Leadership(settings.postgres, wake_all)
        metrics.active.set_function(lambda: leadership.role is Role.ACTIVE)

        def may_lead() -> bool:
            return leadership.role is Role.ACTIVE

        def may_sweep() -> bool:
            return leadership.role is not Role.STANDBY

        keepers += [
            Keeper(duty, may_lead if duty.needs_lead else may_sweep, metrics)
            for duty in make_duties(settings, context, directory)
        ]
        tasks = [asyncio.create_task(keeper.keep()) for keeper in keepers]
        tasks.append(asyncio.create_task(leadership.keep(stop)))
        _log.info("reconciler_started", duties=len(keepers))
        with scraped(settings.metrics, metrics.registry):
            await stop.wait()
        for keeper in keepers:
            keeper.stop()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _log.info("reconciler_stopped")
