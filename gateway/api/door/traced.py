"""Spans of the calls about a reservation; used only when tracing is on.

A refused reserve makes no reservation and so no span; the metrics count it.
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
    """An Ask with the start time and the traceparent of its span."""

    began_ns: int = 0
    traceparent: str | None = None


class TracedReserve(Reserve):
    """Reserve, with a span for each answer about a reservation; on the hot path too."""

    def __init__(self, tracing: Tracing, *parts: Any, **options: Any) -> None:
        """`parts` and `options` are the arguments of Reserve."""
        super().__init__(*parts, **options)
        self._tracing = tracing

    def ask(
        self, facts: SaleFacts, headers: Mapping[str, str], raw: bytes, principal: Principal
    ) -> Ask:
        """`Reserve.ask`, with the time and the traceparent of the request."""
        ask = super().ask(facts, headers, raw, principal)
        return _TracedAsk(
            **msgspec.structs.asdict(ask),
            began_ns=now_ns(),
            traceparent=headers.get("traceparent"),
        )

    def answer(self, ask: Ask, reply: ReserveReply) -> Answer | Problem:
        """`Reserve.answer`, with a span when the reply is about a reservation."""
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
    """The endpoint with a span for each call about an existing reservation."""
    if not isinstance(endpoint, Endpoint) or endpoint.route not in _ROUTES:
        return endpoint
    answer_of = cast("Call", endpoint.call)  # no route in _ROUTES is a stream

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
            # A guessed id leaves no span.
            if problem.kind.code != "not_found":
                record({"error.type": problem.kind.code, STATUS: problem.kind.status})
            raise
        record({STATUS: answer.status})
        return answer

    return dataclasses.replace(endpoint, call=call)
