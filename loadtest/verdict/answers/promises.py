"""Accepted reservations and their keys in answers: what was promised is found again.

Each rule returns what it found wrong, in words. No rule compares a client's clock with a server's.
"""

from loadtest.client.history import Attempt, History

# Orders on a page of `GET /v1/orders`; a list that fills the page may go on elsewhere.
PAGE_ORDERS = 50
# Refusals that a key never gets once it has a reservation: it is looked for first.
NOT_FOR_A_KNOWN_KEY = frozenset({"sold_out", "limit_exceeded", "not_admitted", "sale_not_open"})
FOR_GOOD = float("inf")


def shared_ids(history: History) -> list[str]:
    """A reservation id belongs to one buyer and one key."""
    owners: dict[str, set[tuple[str, str]]] = {}
    for a in history.of("reserve"):
        if a.accepted:
            owners.setdefault(a.reservation_id, set()).add((a.buyer_id, a.key))
    return [f"{i} answered to {sorted(who)}" for i, who in owners.items() if len(who) > 1]


def forgotten_keys(history: History) -> list[str]:
    """A key that was once answered with a reservation is always answered with that reservation.

    A later reserve under the key may be shed or fail, but is never refused as if it were new, and
    never as another request where its lines are the lines of the first.
    """
    first: dict[tuple[str, str], Attempt] = {}
    found = []
    for a in sorted(history.of("reserve"), key=lambda a: a.ended_at):
        if a.accepted:
            known = first.setdefault((a.buyer_id, a.key), a)
            if known.reservation_id != a.reservation_id:
                found.append(
                    f"buyer {a.buyer_id}, key {a.key}: {known.reservation_id}, then "
                    f"{a.reservation_id}"
                )
    for a in history.of("reserve"):
        known_before = first.get((a.buyer_id, a.key))
        if known_before is None or a.started_at < known_before.ended_at:
            continue
        reused = a.code == "idempotency_key_reused" and a.wanted and a.wanted == known_before.wanted
        if a.code in NOT_FOR_A_KNOWN_KEY or reused:
            found.append(
                f"buyer {a.buyer_id}, key {a.key}: {a.code} after {known_before.reservation_id}"
            )
    return found


def lost_accepts(history: History) -> list[str]:
    """A reservation whose id a caller has received is never answered as unknown later."""
    since: dict[tuple[str, str], float] = {}
    for a in history.of("reserve"):
        if a.accepted:
            place = (a.buyer_id, a.reservation_id)
            since[place] = min(a.ended_at, since.get(place, a.ended_at))
    return [
        f"{a.call} of {a.reservation_id} by its buyer {a.buyer_id}: {a.status} {a.code}"
        for a in history.attempts
        if a.status == 404 and a.started_at >= since.get((a.buyer_id, a.reservation_id), FOR_GOOD)
    ]


def vanished_orders(history: History) -> list[str]:
    """An order that a buyer's list has shown is in each list the buyer asks for later."""
    lists: dict[str, list[tuple[float, float, frozenset[str]]]] = {}
    for a in history.of("list"):
        if a.accepted and not a.reservation_id:
            place = lists.setdefault(a.buyer_id, [])
            place.append((a.ended_at, a.started_at, frozenset(a.shown)))
    found = []
    for buyer, shown in lists.items():
        since: dict[str, float] = {}
        for ended_at, started_at, ids in sorted(shown):
            found += [
                f"{identifier}: no longer in the orders of buyer {buyer}"
                for identifier, seen_at in since.items()
                if seen_at <= started_at and identifier not in ids and len(ids) < PAGE_ORDERS
            ]
            for identifier in ids:
                since.setdefault(identifier, ended_at)
    return found
