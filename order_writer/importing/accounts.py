"""What an import says of the accounts: arithmetic on counters, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from gateway.inventory.types import AccountCounters
from order_writer.importing.errors import ImportRefused
from order_writer.importing.events import Account, Events

Row = tuple[object, ...]


@dataclass(slots=True)
class Accounts:
    """Rows for two statements: `unexplained`, what happened to an account within the missing
    numbers; `counters`, what an account has now.
    """

    unexplained: list[Row] = field(default_factory=list)
    counters: list[Row] = field(default_factory=list)


def account_rows(
    found: tuple[AccountCounters, ...],
    ledger: Mapping[Account, asyncpg.Record],
    events: Events,
    returned: Mapping[Account, int],
    *,
    is_unloaded: bool,
) -> Accounts:
    """The counters that were found in Redis, and their change since the `ledger`'s that the stored
    `events` do not explain.

    `returned`: units that buyers have given back since, by the orders. `is_unloaded`: the ledger
    had not even applied the load, so that all units are among what happened. Raises ImportRefused
    where the ledger has other accounts.
    """
    rows = Accounts()
    for now in found:
        key = (now.sku, now.location)
        was = ledger.get(key)
        if was is None or was["loaded"] != now.loaded:
            raise ImportRefused(f"the ledger opened {now.sku} at {now.location} with other stock")
        adjusted, available, held, sold = events.moved.get(key, (0, 0, 0, 0))
        rows.unexplained.append((
            *key, now.loaded if is_unloaded else 0, now.adjusted - adjusted - was["adjusted"],
            now.transferred - was["transferred"],
            now.available - available - (0 if is_unloaded else was["available"]),
            now.held - held - was["held"], now.sold - sold - was["sold"],
            returned.get(key, 0) - events.returned[key],
        ))  # fmt: skip
        rows.counters.append((
            *key, now.adjusted, now.transferred, now.in_transit, now.available, now.held, now.sold,
        ))  # fmt: skip
    return rows
