"""The operator behind a request."""

from aiohttp import web

from gateway.admission.tokens import Principal
from gateway.api.contract.endpoints import REQUEST_ID
from gateway.api.contract.versions import wanted_version
from gateway.api.ledger.audit import Caller


def caller_of(request: web.Request, principal: Principal) -> Caller:
    """The operator behind a request: subject, request id and the version asked for in If-Match."""
    return Caller(principal.subject, request[REQUEST_ID], wanted_version(request.headers))
