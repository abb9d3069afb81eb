"""Calls of those who run the gateway: life, readiness, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from gateway.api.metrics import exposition
from gateway.api.problems import Answer
from gateway.api.rendering import json_answer

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.api.gauges import Gauges
    from gateway.api.health import HealthCheck
    from gateway.api.metrics import GatewayMetrics


class SystemHandlers:
    """See the module."""

    def __init__(self, health: HealthCheck, metrics: GatewayMetrics, gauges: Gauges) -> None:
        """What is asked."""
        self._health = health
        self._metrics = metrics
        self._gauges = gauges

    async def livez(self, _request: web.Request) -> Answer:
        """GET /livez."""
        return json_answer(200, {"status": "alive"})

    async def readyz(self, _request: web.Request) -> Answer:
        """GET /readyz: 200 when sales can go on, else 503; either way part by part."""
        health = await self._health.check()
        return json_answer(503 if health.status == "not_ready" else 200, health)

    async def metrics(self, _request: web.Request) -> Answer:
        """GET /metrics."""
        text = exposition(self._metrics, await self._gauges.read())
        return Answer(200, text, content_type=CONTENT_TYPE_PLAIN_0_0_4)
