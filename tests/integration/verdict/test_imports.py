"""The verdict on a sale whose ledger was imported: as strict as ever beyond the missing numbers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from config.settings import Settings
from loadtest.verdict.finding import Outcome
from tests.support.sales.imports import ImportedSale, imported_sale
from tests.support.sales.judged_sale import JudgedSale

SEQUENCE = 6


@pytest_asyncio.fixture
async def rig(settings: Settings, judged_sale: JudgedSale) -> AsyncIterator[ImportedSale]:
    async with imported_sale(settings, judged_sale) as sale:
        yield sale


@pytest.mark.parametrize(("epochs", "kept_epochs"), [(0, 0), (2, 0), (1, 1)])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_verdict_holds_and_says_what_is_known_from_an_import_only(
    rig: ImportedSale, seed: int, epochs: int, kept_epochs: int
) -> None:
    history, lost = await rig.history(seed, epochs=epochs, kept_epochs=kept_epochs)
    await rig.imported()
    await history.steps(30)
    await rig.apply()
    verdict = await rig.sale.verdict()
    assert verdict.holds, [f for f in verdict.findings if f.examples]
    told = f"{len(lost)} numbers known from 1 imports only"
    assert told in verdict.finding(SEQUENCE).detail


async def test_the_verdict_holds_where_nothing_had_been_applied(rig: ImportedSale) -> None:
    await rig.history(1)
    await rig.forget_everything()
    await rig.imported()
    verdict = await rig.sale.verdict()
    assert verdict.holds, verdict


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM ledger_events WHERE (epoch, sequence) = (1, 5)",
        "DELETE FROM ledger_events e USING watermarks w WHERE e.sequence = w.sequence - 2",
        "DELETE FROM ledger_events WHERE type = 'import'",
        "UPDATE stock_accounts SET available = available + 1, adjusted = adjusted + 1",
        "UPDATE ledger_imports SET after_sequence = after_sequence + 1",
        "UPDATE ledger_import_accounts SET sold = sold + 1, held = held - 1",
        "DELETE FROM imported_reservations",
    ],
)
async def test_damage_is_found_in_an_imported_ledger(rig: ImportedSale, damage: str) -> None:
    await rig.history(1)
    await rig.imported()
    await rig.sale.ledger.execute("SET session_replication_role = replica")
    await rig.sale.ledger.execute(damage)
    assert (await rig.sale.verdict()).finding(SEQUENCE).outcome is Outcome.BROKEN
