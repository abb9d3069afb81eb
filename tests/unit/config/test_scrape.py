"""`/metrics` of the processes that serve no HTTP otherwise."""

import http.client
import socket

from config.settings import MetricsSettings
from config.stack.server import free_port
from gateway.process.scrape import scraped
from gateway.relay.metrics import RelayMetrics
from tests.support.waiting import WAIT_SECONDS


def read(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_metrics_are_served_as_long_as_the_process_works() -> None:
    metrics = RelayMetrics()
    metrics.events.inc(3)
    port = free_port()
    with scraped(MetricsSettings(port=port), metrics.registry):
        assert "dropgate_relay_events_total 3.0" in read(port)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_no_port_is_opened_unless_asked_for() -> None:
    with scraped(MetricsSettings(), RelayMetrics().registry):
        pass
