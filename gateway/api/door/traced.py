"""Spans of the calls about a reservation; used only where traces are wanted.

Refusals make no reservation and so no trace: they are counted in the metrics.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.contract.endpoints import AnyEndpoint, Call, Endpoint
from gateway.api.contract.problems import Answer, Problem
from gateway.api.reservations.reserve import Ask, Reserve
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.keys import parse_reservation_id
from gateway.inventory.outcomes import Outcome, ReserveReply
from gateway.inventory.tracing import Role, Tracing, now_ns

_SPAN_NAMES = {Outcome.ACCEPTED: "reserve", Outcome.REPLAYED: "replay"}
STATUS = "http.response.status_code"
_ROUTES = frozenset({"confirm", "cancel", "extend", "returns"})


class _TracedAsk(Ask, frozen=True, gc=False):
    """An Ask, and what its span begins with."""

    began_ns: int = 0
    traceparent: str | None = None


class TracedReserve(Reserve):
    """Reserve, with a span for each answer about a reservation; on the hot path too."""

    def __init__(self, tracing: Tracing, *parts: Any, **options: Any) -> None:
        """`parts` and `options` are Reserve's."""
        super().__init__(*parts, **options)
        self._tracing = tracing

    def ask(
        self, facts: SaleFacts, headers: Mapping[str, str], raw: bytes, principal: Principal
    ) -> Ask:
        """As Reserve's, and the time it came."""
        ask = super().ask(facts, headers, raw, principal)
        return _TracedAsk(
            **msgspec.structs.asdict(ask),
            began_ns=now_ns(),
            traceparent=headers.get("traceparent"),
        )

    def answer(self, ask: Ask, reply: ReserveReply) -> Answer | Problem:
        """As Reserve's, and its span."""
        answer = super().answer(ask, reply)
        name = _SPAN_NAMES.get(Outcome(reply.outcome))
        if name is not None and isinstance(ask, _TracedAsk):
            self._tracing.record(
                name,
                ask.identifier,
                Role.SERVER,
                ask.began_ns,
                {"http.route": "/v1/sales/{sale}/reservations", STATUS: 201},
                traceparent=ask.traceparent,
            )
        return answer


def traced(endpoint: AnyEndpoint, tracing: Tracing) -> AnyEndpoint:
    """The endpoint with a span for each call, where it is about a reservation that is there."""
    if not isinstance(endpoint, Endpoint) or endpoint.route not in _ROUTES:
        return endpoint
    answer_of = cast("Call", endpoint.call)  # none of these is a stream

    async def call(request: web.Request, principal: Principal) -> Answer:
        began_ns = now_ns()

        def record(attributes: dict[str, str | int]) -> None:
            identifier = parse_reservation_id(request.match_info["id"])
            if identifier is not None:
                tracing.record(
                    endpoint.route,
                    identifier,
                    Role.SERVER,
                    began_ns,
                    {"http.route": endpoint.path, **attributes},
                    traceparent=request.headers.get("traceparent"),
                )

        try:
            answer = await answer_of(request, principal)
        except Problem as problem:
            # A stranger's guess makes no trace.
            if problem.kind.code != "not_found":
                record({"error.type": problem.kind.code, STATUS: problem.kind.status})
            raise
        record({STATUS: answer.status})
        return answer

    return dataclasses.replace(endpoint, call=call)
