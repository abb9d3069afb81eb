"""The gateway's metrics in one catalogue, and their text for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.admission.shedding import SHED_FROM
from gateway.api.contract.overview_schemas import GatewayFigures, LatencyFigures
from gateway.api.contract.problems import CATALOGUE
from gateway.api.metrics.slots import MetricsFile


class Ended(StrEnum):
    """Why a connection was refused or ended: the label of its metric."""

    FULL = "full"
    ADDRESS = "address"
    HEAD = "head"
    UNREAD = "unread"
    PRESSED = "pressed"


# The names of all routes, as endpoints have them; `other` counts requests without an endpoint.
ROUTES = (
    "reserve", "reservation", "confirm", "cancel", "extend", "returns", "order", "orders",
    "sale_put", "sale", "sale_state", "item_state", "adjust", "snapshot", "accounting", "reconcile",
    "reconciliations", "reconciliation", "dead_letters", "dead_letter_replay", "adjust_preview",
    "sales", "figures", "audit_log", "queue", "queue_join", "queue_leave", "queue_events",
    "queue_figures",
    "queue_control", "queue_draw", "queue_audit", "demo_shop", "page", "system", "other",
)  # fmt: skip
OUTCOMES = ("accepted", "replayed", *CATALOGUE)
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")

LIMITS = ("buyer", "given_back", "network", "sale", "gateway", "storefront", "ops")
KINDS_SHED = tuple(work.value for work in SHED_FROM)

IN_FLIGHT = "in_flight"
CONNECTIONS = "connections"
_BUCKET_COUNT = len(BUCKETS_SECONDS) + 1
_NAMES = (
    IN_FLIGHT,
    CONNECTIONS,
    *(f"ended:{reason}" for reason in Ended),
    *(f"shed:{work}" for work in KINDS_SHED),
    *(f"limited:{limit}" for limit in LIMITS),
    *(f"reservation:{outcome}" for outcome in OUTCOMES),
    *(f"request:{route}:{status}" for route in ROUTES for status in STATUS_CLASSES),
    *(f"latency:{route}:{le}" for route in ROUTES for le in (*BUCKETS_SECONDS, "inf", "sum")),
)
_SLOTS = {name: slot for slot, name in enumerate(_NAMES)}
_OUTCOME_SLOTS = {outcome: _SLOTS[f"reservation:{outcome}"] for outcome in OUTCOMES}
_SHED_SLOTS = {work: _SLOTS[f"shed:{work}"] for work in KINDS_SHED}
_LIMITED_SLOTS = {limit: _SLOTS[f"limited:{limit}"] for limit in LIMITS}
_ENDED_SLOTS = {reason.value: _SLOTS[f"ended:{reason}"] for reason in Ended}
_LATENCY_SLOTS = {route: _SLOTS[f"latency:{route}:{BUCKETS_SECONDS[0]}"] for route in ROUTES}
_REQUEST_SLOTS = {route: _SLOTS[f"request:{route}:2xx"] for route in ROUTES}


class GatewayMetrics(Collector):
    """Counts in this worker's file; shows the sum over all workers of the gateway."""

    def __init__(self, run_dir: Path, worker_slot: int) -> None:
        """The files are in `run_dir`, one for each worker."""
        self._file = MetricsFile(run_dir, worker_slot, _NAMES)
        self._values = self._file.values
        for name in (IN_FLIGHT, CONNECTIONS):
            self._values[_SLOTS[name]] = 0.0  # a former worker's requests and connections are gone

    def count_reservation(self, outcome: str) -> None:
        """Count a reserve call by its outcome: a script's outcome, or a problem's code."""
        self._values[_OUTCOME_SLOTS[outcome]] += 1.0

    def began(self) -> None:
        """Count a request that came in."""
        self._values[0] += 1.0

    def ended(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request and the `seconds` it took."""
        values = self._values
        values[0] -= 1.0
        values[_REQUEST_SLOTS[route] + status // 100 - 2] += 1.0
        first = _LATENCY_SLOTS[route]
        values[first + bisect_left(BUCKETS_SECONDS, seconds)] += 1.0
        values[first + _BUCKET_COUNT] += seconds

    def count_connections(self, change: int) -> None:
        """Count opened (positive) or closed (negative) connections."""
        self._values[_SLOTS[CONNECTIONS]] += change

    def connection_ended(self, reason: str) -> None:
        """Count a connection that the gateway refused or ended; `reason` is a value of Ended."""
        self._values[_ENDED_SLOTS[reason]] += 1.0

    def count_shed(self, work: str) -> None:
        """Count a request of this kind of work, refused under load."""
        self._values[_SHED_SLOTS[work]] += 1.0

    def count_limited(self, limit: str) -> None:
        """Count a request refused by this rate limit."""
        self._values[_LIMITED_SLOTS[limit]] += 1.0

    def collect(self) -> Iterable[Metric]:
        """The metrics for Prometheus, summed over all workers."""
        totals = self._file.totals()
        reservations = CounterMetricFamily(
            "dropgate_reservations", "Reserve calls by outcome", labels=["outcome"]
        )
        for outcome, slot in _OUTCOME_SLOTS.items():
            reservations.add_metric([outcome], totals[slot])
        requests = CounterMetricFamily(
            "dropgate_http_requests", "Requests by route and status", labels=["route", "status"]
        )
        latency = HistogramMetricFamily(
            "dropgate_http_request_seconds", "Time to answer by route", labels=["route"]
        )
        for route in ROUTES:
            for index, status in enumerate(STATUS_CLASSES):
                requests.add_metric([route, status], totals[_REQUEST_SLOTS[route] + index])
            self._add_latency(latency, route, totals)
        in_flight = GaugeMetricFamily("dropgate_http_in_flight", "Requests being answered")
        in_flight.add_metric([], totals[_SLOTS[IN_FLIGHT]])
        connections = GaugeMetricFamily("dropgate_connections", "Client connections open")
        connections.add_metric([], totals[_SLOTS[CONNECTIONS]])
        refused = (
            _counters("connections_ended", "Connections refused", "reason", _ENDED_SLOTS, totals),
            _counters("shed", "Requests refused for load", "work", _SHED_SLOTS, totals),
            _counters("rate_limited", "Requests over a limit", "limit", _LIMITED_SLOTS, totals),
        )
        return (reservations, requests, latency, in_flight, connections, *refused)

    def figures(self) -> GatewayFigures:
        """The figures of operators' pages, summed over all workers."""
        totals = self._file.totals()
        counts = {outcome: int(totals[slot]) for outcome, slot in _OUTCOME_SLOTS.items()}
        first = _LATENCY_SLOTS["reserve"]
        return GatewayFigures(
            accepted=counts.pop("accepted"),
            replayed=counts.pop("replayed"),
            refused={code: count for code, count in counts.items() if count},
            in_flight=int(totals[_SLOTS[IN_FLIGHT]]),
            reserve_latency=LatencyFigures(
                bounds_ms=tuple(1000 * bound for bound in BUCKETS_SECONDS),
                counts=tuple(int(count) for count in totals[first : first + _BUCKET_COUNT]),
            ),
        )

    def close(self) -> None:
        """Close the file; later counts go to memory that nobody reads."""
        self._values = memoryview(bytearray(8 * len(_NAMES))).cast("d")
        self._file.close()

    @staticmethod
    def _add_latency(family: HistogramMetricFamily, route: str, totals: list[float]) -> None:
        first = _LATENCY_SLOTS[route]
        counted, buckets = 0.0, []
        for index, le in enumerate((*map(str, BUCKETS_SECONDS), "+Inf")):
            counted += totals[first + index]
            buckets.append((le, counted))
        family.add_metric([route], buckets=buckets, sum_value=totals[first + _BUCKET_COUNT])


def _counters(
    name: str, text: str, label: str, slots: dict[str, int], totals: list[float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"dropgate_{name}", text, labels=[label])
    for value, slot in slots.items():
        family.add_metric([value], totals[slot])
    return family


def exposition(*collectors: Collector) -> bytes:
    """The text of `/metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)
