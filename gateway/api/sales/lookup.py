"""The facts of the sale in a request, or the problem that the caller gets instead."""

from gateway.api.contract.problems import Problem, not_found
from gateway.api.contract.versions import check_version
from gateway.api.ledger.audit import Caller
from gateway.api.ledger.connections import LedgerUnavailable
from gateway.api.sales.directory import SaleDirectory, UnknownSale
from gateway.api.sales.facts import SaleFacts
from gateway.inventory.types import SaleState


async def facts_or_problem(directory: SaleDirectory, sale_id: str) -> SaleFacts:
    """The sale's facts. Raises Problem not_found, or recovering when they cannot be read."""
    try:
        return await directory.get(sale_id)
    except UnknownSale as error:
        raise not_found("sale") from error
    except LedgerUnavailable as error:
        raise Problem("recovering", "The sale cannot be read now; ask again.") from error


async def is_settled(directory: SaleDirectory, sale_id: str) -> bool:
    """Whether a sale without partitions in Redis was settled; False when that cannot be read."""
    try:
        return (await directory.read(sale_id)).state is SaleState.SETTLED
    except (UnknownSale, LedgerUnavailable):
        return False


async def running_sale(directory: SaleDirectory, sale_id: str, caller: Caller) -> SaleFacts:
    """The facts of a sale with partitions, at the caller's version. Raises Problem."""
    await facts_or_problem(directory, sale_id)
    facts = await directory.read(sale_id)
    check_version(caller.if_version, facts.version)
    if not facts.opened or facts.state is SaleState.SETTLED:
        raise Problem(
            "invalid_state",
            f"A sale that is {facts.state} has no stock to change.",
            state=facts.state,
        )
    return facts
