"""Serves `/metrics` in processes without an HTTP API: relay, order writer, reconciler."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from config.settings import MetricsSettings

_log = structlog.get_logger()


@contextmanager
def scraped(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve the registry's metrics from a thread while the block runs; with port 0 serve nothing.

    Raises OSError when the port is taken.
    """
    if settings.port == 0:
        yield
        return
    server, thread = start_http_server(settings.port, settings.host, registry)
    _log.info("metrics_served", host=settings.host, port=settings.port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
