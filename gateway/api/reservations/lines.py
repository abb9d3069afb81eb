"""Requested lines by number, as scripts take them; their fingerprint; the buyer of a request."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

from gateway.admission.tokens import SUBJECT_BYTES_MAX, Principal, Scope
from gateway.api.contract.bodies import check_text
from gateway.api.contract.problems import Problem
from gateway.api.contract.requests import LineBody
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.types import AskedLines


def fingerprint_of(lines: Sequence[LineBody]) -> str:
    """11 characters, equal for requests of equal lines, in any order and any split."""
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        place = (line.sku, line.location or "")
        sums[place] = sums.get(place, 0) + line.quantity
    digest = blake2b(digest_size=8)
    for (sku, location), quantity in sorted(sums.items()):
        digest.update(f"{sku}\0{location}\0{quantity}\n".encode())
    return urlsafe_b64encode(digest.digest())[:11].decode()


def numbered_lines(facts: SaleFacts, lines: Sequence[LineBody]) -> AskedLines:
    """The lines by number, for the scripts. Raises Problem for an unknown name."""
    catalog = facts.catalog
    flat: list[int] = []
    for line in lines:
        item = catalog.sku_number(line.sku)
        if item is None:
            raise Problem("invalid", f"The sale has no SKU {line.sku}.", sku=line.sku)
        account = None
        if line.location is not None:
            account = catalog.account_number(line.sku, line.location)
            if account is None:
                raise Problem(
                    "invalid",
                    f"SKU {line.sku} has no location {line.location}.",
                    sku=line.sku,
                    location=line.location,
                )
        flat += (item, account or 0, line.quantity)
    return AskedLines(tuple(flat))


def buyer_of(principal: Principal, given: str | None) -> str:
    """The buyer of a request. Raises Problem invalid when a buyer names another buyer."""
    if principal.scope is Scope.BUYER:
        if given is not None and given != principal.subject:
            raise Problem("invalid", "buyer_id: omit it, or give the buyer of the token.")
        return principal.subject
    if given is None:
        raise Problem("invalid", "buyer_id: required, the buyer for whom the storefront acts.")
    return check_text("buyer_id", given, SUBJECT_BYTES_MAX)
