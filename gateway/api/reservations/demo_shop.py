"""A stand-in for the shop, for demonstrations only: visitors get a token and "pay" with a click.

In production the shop's own server hands out buyer tokens, takes the money and confirms; no page
ever holds a token that confirms. The demo shop takes no money, so buyers of a real sale must never
reach it: it is off by default, it starts only where the gateway, Redis and Postgres are all on this
machine, and it answers only callers who address the machine itself and who came through no proxy.
"""

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import jwt

from config.settings import Settings
from gateway.admission.tokens import Principal, Scope
from gateway.api.contract.problems import not_found
from gateway.api.contract.rendering import instant
from gateway.api.contract.requests import ConfirmBody
from gateway.api.contract.schemas import DemoSession, ReservationAnswer
from gateway.api.ledger.connections import Ledger
from gateway.api.ledger.queries import QUERIES
from gateway.api.reservations.changes import ReservationService

TOKEN_LIFE_SECONDS = 12 * 3600
_PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


class DemoShop:
    """Hands out visitors' tokens and confirms their holds, without payment."""

    def __init__(
        self, settings: Settings, ledger: Ledger, reservations: ReservationService
    ) -> None:
        """Raises ValueError when another machine could reach the demo shop or be changed by it."""
        check_local(settings)
        secret = settings.auth.secret
        if secret is None:
            raise ValueError("gateway.demo_shop: needs auth.secret, to sign visitors' tokens")
        self._secret = secret.get_secret_value()
        self._audience = settings.auth.audience
        self._ledger = ledger
        self._reservations = reservations

    async def session(self) -> DemoSession:
        """A session for a new visitor."""
        buyer_id = f"visitor-{secrets.token_hex(6)}"
        expires = int(time.time()) + TOKEN_LIFE_SECONDS
        claims = {
            "sub": buyer_id,
            "scope": Scope.BUYER.value,
            "aud": self._audience,
            "exp": expires,
        }
        return DemoSession(
            buyer_id=buyer_id,
            token=jwt.encode(claims, self._secret, algorithm="HS256"),
            expires_at=instant(datetime.fromtimestamp(expires, UTC)),
            sale_id=await self._ledger.fetchval(QUERIES["sale_to_show"]),
        )

    async def pay(self, reservation_id: str, principal: Principal) -> ReservationAnswer:
        """Confirm the caller's own hold, as a shop does once it has the money.

        The payment reference comes from the reservation's id, so a repeated call is one payment.
        Raises Problem.
        """
        held = await self._reservations.read(reservation_id, principal)
        reference = f"demo-{held.reservation_id.rpartition('.')[2]}"
        done = await self._reservations.confirm(reservation_id, ConfirmBody(reference))
        return done.reservation


def check_local(settings: Settings) -> None:
    """Raise ValueError unless the gateway and its servers are all on this machine."""
    named = {
        "gateway.host": settings.gateway.host,
        "redis.url": urlsplit(settings.redis.url).hostname,
        "postgres.dsn": urlsplit(settings.postgres.dsn).hostname,
    }
    for name, host in named.items():
        # A DSN without a host is a socket in the file system.
        if host and not is_this_machine(host):
            raise ValueError(
                f"gateway.demo_shop is on, and {name} is not on this machine ({host}): "
                "anybody who reaches it could buy without paying; turn it off"
            )


def check_caller_local(headers: Mapping[str, str]) -> None:
    """Raise Problem not_found for a caller from another machine, who must not see the demo shop."""
    host = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
    if not is_this_machine(host) or any(name in headers for name in _PROXY_HEADERS):
        raise not_found("resource")


def is_this_machine(host: str) -> bool:
    """Whether a host name means the loopback interface."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
