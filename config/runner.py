"""Runs the service of a process until a signal stops it; every kind of process starts here."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from config.logs import configure_logs
from config.settings import Settings

Service = Callable[[Settings, asyncio.Event], Awaitable[None]]

EXIT_FAILED = 1

_log = structlog.get_logger()


def run_service(name: str, service: Service, settings: Settings) -> int:
    """Run `service` on uvloop until it returns; returns the exit status.

    SIGTERM and SIGINT set the event it is given; a service then finishes what it has in hand and
    returns. A service that raises is logged with its traceback and gives status 1.
    """
    configure_logs(settings.log, name)
    _calm_collector()
    return uvloop.run(_run(name, service, settings))


def _calm_collector() -> None:
    """Collect cycles rarely: requests and events leave hardly any, and the search for cycles took a
    tenth of a gateway's time and a third of an order writer's. Imported modules live as long as the
    process, so the search leaves them out.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _run(name: str, service: Service, settings: Settings) -> int:
    stop = stop_on_signals()
    _log.info("started", action="start")
    try:
        await service(settings, stop)
    except Exception as error:  # noqa: BLE001 - the last frame of the process can only log it
        _log.exception("failed", action="stop", service=name, reason=str(error))
        return EXIT_FAILED
    _log.info("stopped", action="stop")
    return 0


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT and SIGHUP set, instead of ending the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop
