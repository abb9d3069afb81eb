"""The reconciler's metrics, all in one place."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ReconcilerMetrics:
    """Counters and gauges of one reconciler, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = Gauge(
            "dropgate_reconciler_active",
            "1 where this process has the lead",
            registry=self.registry,
        )
        self.lease_seconds = Gauge(
            "dropgate_reconciler_lease_seconds",
            "What is left of this process's lease of the lead",
            registry=self.registry,
        )
        self.runs = Counter(
            "dropgate_duty_runs_total",
            "Runs of each duty by how they ended",
            ("duty", "result"),
            registry=self.registry,
        )
        self.seconds = Counter(
            "dropgate_duty_seconds_total",
            "Time spent in each duty",
            ("duty",),
            registry=self.registry,
        )
        self.last_done = Gauge(
            "dropgate_duty_last_done_timestamp_seconds",
            "When each duty last ended well",
            ("duty",),
            registry=self.registry,
        )
