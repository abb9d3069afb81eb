"""The limits that a request counts against, in one worker.

Requests of buyers, and requests without a token, count against their network, the sale and the
gateway as a whole. Requests of shops and operators count against limits of their own, by the
token's subject, so that a rush of buyers behind one address never exhausts them. Each limit is the
configured limit divided by the workers; the limit of one buyer is kept by `reserve`, exact over all
workers.
"""

from config.settings import RateLimitSettings
from gateway.admission.rates import Rate, Refusal, Shares
from gateway.admission.tokens import Principal, Scope

ALL = "all"


class RateLimits:
    """Checks requests against the configured rate limits."""

    def __init__(self, settings: RateLimitSettings, workers: int) -> None:
        """The limits of one of `workers` workers."""

        def shares(name: str, per_second: float, burst: int, slots: int = 0) -> Shares | None:
            if not per_second:
                return None
            share = Rate(name, per_second, burst or max(1, round(per_second))).share(workers)
            return Shares(share, slots) if slots else Shares(share)

        of = settings
        self._network = shares("network", of.network_per_second, of.network_burst)
        self._sale = shares("sale", of.sale_per_second, of.sale_burst)
        self._gateway = shares("gateway", of.gateway_per_second, of.gateway_burst, slots=1)
        self._by_scope = {
            Scope.STOREFRONT: shares("storefront", of.storefront_per_second, of.storefront_burst),
            Scope.OPS: shares("ops", of.ops_per_second, of.ops_burst),
        }

    @property
    def enabled(self) -> bool:
        """Whether any limit is configured."""
        return any((self._network, self._sale, self._gateway, *self._by_scope.values()))

    def refusal(
        self, principal: Principal | None, network: str, sale_id: str | None, now: float
    ) -> Refusal | None:
        """Count a request; or return the limit that it exceeds, and count it nowhere."""
        if principal is not None and principal.scope is not Scope.BUYER:
            asked = [(self._by_scope[principal.scope], principal.subject)]
        else:
            asked = [(self._network, network), (self._gateway, ALL)]
            if sale_id is not None:
                asked.append((self._sale, sale_id))
        for shares, caller in asked:
            if shares is not None and (wait := shares.wait(caller, now)):
                return Refusal(shares.rate, wait)
        for shares, caller in asked:
            if shares is not None:
                shares.take(caller, now)
        return None
