"""The history of a judged sale's buyers, where nothing went wrong."""

from loadtest.client.history import Attempt, History
from tests.support.sales.judged_sale import JudgedSale


def history_of(sale: JudgedSale) -> History:
    """What honest clients of the sale would have seen."""
    history = History(complete=True)
    for buyer in ("payer", "partial", "canceller", "lapser", "holder"):
        history.add(
            Attempt(
                call="reserve",
                caller="buyer",
                buyer_id=buyer,
                status=201,
                started_at=1.0,
                seconds=0.1,
                key="key",
                reservation_id=sale.id_of(buyer),
                owner=buyer,
                admission=f"admission of {buyer}",
            )
        )
    for call, buyer in (("confirm", "payer"), ("confirm", "partial"), ("cancel", "canceller")):
        caller = "buyer" if call == "cancel" else "storefront"
        history.add(
            Attempt(
                call=call,
                caller=caller,
                buyer_id=buyer,
                status=200,
                started_at=1.0,
                seconds=0.1,
                reservation_id=sale.id_of(buyer),
                owner=buyer,
            )
        )
    return history
