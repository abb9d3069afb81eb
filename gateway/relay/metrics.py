"""The relay's metrics, all in one place."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class RelayMetrics:
    """Counters and gauges of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "dropgate_relay_events_total",
            "Events the log has acknowledged",
            registry=self.registry,
        )
        self.failed_rounds = Counter(
            "dropgate_relay_failed_rounds_total",
            "Rounds that failed because of Redis or the log",
            registry=self.registry,
        )
        self.partitions_led = Gauge(
            "dropgate_relay_partitions_led",
            "Partitions whose lease this relay has",
            registry=self.registry,
        )
