"""System calls: liveness, readiness, metrics, and the description of the API."""

from collections.abc import Sequence

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from gateway.api.contract.endpoints import AnyEndpoint
from gateway.api.contract.overview_schemas import Alive
from gateway.api.contract.problems import Answer
from gateway.api.contract.rendering import json_answer
from gateway.api.description.document import openapi_document
from gateway.api.description.page import PAGE_POLICY, docs_page
from gateway.api.metrics.catalogue import GatewayMetrics, exposition
from gateway.api.operations.gauges import Gauges
from gateway.api.operations.health import HealthCheck
from gateway.api.operations.room_gauges import QueueGauges


class SystemHandlers:
    """Handlers of health, metrics and the API's description."""

    def __init__(
        self,
        health: HealthCheck,
        metrics: GatewayMetrics,
        gauges: Gauges,
        queue_gauges: QueueGauges,
    ) -> None:
        """`health`, `metrics` and the gauges are read anew for each request."""
        self._queue_gauges = queue_gauges
        self._health = health
        self._metrics = metrics
        self._gauges = gauges
        self._document = self._page = Answer(503, b"")

    def describe(self, endpoints: Sequence[AnyEndpoint]) -> None:
        """Make the description of these endpoints, for `openapi` and `docs`."""
        document = openapi_document(endpoints)
        self._document = Answer(200, msgspec.json.format(msgspec.json.encode(document), indent=1))
        self._page = Answer(200, docs_page(document), (PAGE_POLICY,), "text/html; charset=utf-8")

    async def livez(self, _request: web.Request) -> Answer:
        """GET /livez."""
        return json_answer(200, Alive())

    async def readyz(self, _request: web.Request) -> Answer:
        """GET /readyz: 200 when sales can go on, else 503; the body lists each part's state."""
        health = await self._health.check()
        return json_answer(503 if health.status == "not_ready" else 200, health)

    async def metrics(self, _request: web.Request) -> Answer:
        """GET /metrics."""
        gauges = await self._gauges.read()
        text = exposition(self._metrics, gauges, await self._queue_gauges.read())
        return Answer(200, text, content_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def openapi(self, _request: web.Request) -> Answer:
        """GET /openapi.json."""
        return self._document

    async def docs(self, _request: web.Request) -> Answer:
        """GET /docs."""
        return self._page
