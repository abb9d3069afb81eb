"""The order writer's metrics, all in one place."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class WriterMetrics:
    """Counters and gauges of one order writer, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "dropgate_ledger_events_total", "Events applied", registry=self.registry
        )
        self.batches = Counter(
            "dropgate_ledger_batches_total", "Transactions committed", registry=self.registry
        )
        self.repeated = Counter(
            "dropgate_ledger_repeated_total",
            "Copies of events the ledger had already",
            registry=self.registry,
        )
        self.refetched = Counter(
            "dropgate_ledger_refetched_total",
            "Events the log did not deliver, read again from the outbox or the log's past",
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "dropgate_dead_letters_total", "Events set aside", registry=self.registry
        )
        self.open_dead_letters = Gauge(
            "dropgate_dead_letters_open", "Events set aside and not settled", registry=self.registry
        )
        self.lag_events = Gauge(
            "dropgate_ledger_lag_events",
            "Events in the outboxes beyond the watermarks",
            registry=self.registry,
        )
        self.lag_seconds = Gauge(
            "dropgate_ledger_lag_seconds",
            "Age of the last applied event of the partition most behind",
            registry=self.registry,
        )
        self.imports = Counter(
            "dropgate_ledger_imports_total",
            "Partitions brought up to date from Redis' records, where events are missing for good",
            registry=self.registry,
        )
        self.stopped = Gauge(
            "dropgate_stopped_partitions",
            "Partitions that apply nothing more until a person has looked",
            registry=self.registry,
        )
