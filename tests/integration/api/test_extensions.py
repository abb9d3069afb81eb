"""Extensions with an Idempotency-Key: one effect each, whatever is lost or sent again."""

from datetime import datetime

import pytest

from gateway.inventory.errors import UnknownOutcome
from gateway.inventory.keys import PartitionId
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.store import ReservationStore
from tests.support.api import Api


def _losing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Lose the first `times` replies to `extend`; returns the outcomes the script gave."""
    extend = ReservationStore.extend
    outcomes: list[str] = []

    async def extend_and_lose(
        store: ReservationStore, partition: PartitionId, token: str, milliseconds: int, key: str
    ) -> EdgeReply:
        reply = await extend(store, partition, token, milliseconds, key)
        outcomes.append(reply.outcome)
        if len(outcomes) <= times:
            raise UnknownOutcome("the connection was lost")
        return reply

    monkeypatch.setattr(ReservationStore, "extend", extend_and_lose)
    return outcomes


async def _deadline(api: Api, path: str) -> datetime:
    return datetime.fromisoformat((await api.buyer("ann", "GET", path)).body["expires_at"])


async def test_an_extension_with_a_key_is_made_once(api: Api) -> None:
    path = f"/v1/reservations/{await api.held(await api.open_sale(), 'ann')}"
    extend, minute = f"{path}/extend", {"seconds": 60}
    before = await _deadline(api, path)
    first = await api.buyer("ann", "POST", extend, minute, Idempotency_Key="more-1")
    again = await api.buyer("ann", "POST", extend, minute, Idempotency_Key='"more-1"')
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await _deadline(api, path) - before).total_seconds() == 60
    other = await api.buyer("ann", "POST", extend, {"seconds": 61}, Idempotency_Key="more-1")
    assert other.told == (422, "idempotency_key_reused")
    malformed = await api.buyer("ann", "POST", extend, minute, Idempotency_Key="two words")
    assert malformed.told == (400, "malformed")
    assert (await _deadline(api, path) - before).total_seconds() == 60
    second = await api.buyer("ann", "POST", extend, minute, Idempotency_Key="more-2")
    assert second.status == 200
    assert (await api.buyer("ann", "POST", extend, minute)).status == 200
    assert (await _deadline(api, path) - before).total_seconds() == 180


async def test_a_repeat_shows_what_became_of_the_hold(api: Api) -> None:
    sale = await api.open_sale()
    path = f"/v1/reservations/{await api.held(sale, 'ann')}"
    body = {"seconds": 60}
    await api.buyer("ann", "POST", f"{path}/extend", body, Idempotency_Key="more")
    await api.storefront("POST", f"{path}/confirm", {"payment_reference": "p"})
    again = await api.buyer("ann", "POST", f"{path}/extend", body, Idempotency_Key="more")
    assert (again.status, again.body["state"]) == (200, "confirmed")
    assert again.headers["Idempotent-Replayed"] == "true"
    new = await api.buyer("ann", "POST", f"{path}/extend", body, Idempotency_Key="other")
    assert new.told == (409, "already_resolved")


async def test_a_hold_keeps_32_keys(api: Api) -> None:
    path = f"/v1/reservations/{await api.held(await api.open_sale(), 'ann')}/extend"
    body = {"seconds": 1}
    for number in range(32):
        done = await api.buyer("ann", "POST", path, body, Idempotency_Key=f"k{number}")
        assert done.status == 200
    refused = await api.buyer("ann", "POST", path, body, Idempotency_Key="k32")
    assert refused.told == (409, "invalid_state")
    assert "without a key" in refused.body["detail"]
    known = await api.buyer("ann", "POST", path, body, Idempotency_Key="k0")
    assert known.headers["Idempotent-Replayed"] == "true"
    assert (await api.buyer("ann", "POST", path, body)).status == 200


async def test_a_lost_reply_is_found_with_the_key(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/reservations/{await api.held(await api.open_sale(), 'ann')}"
    before = await _deadline(api, path)
    outcomes = _losing(monkeypatch, times=1)
    told = await api.buyer("ann", "POST", f"{path}/extend", {"seconds": 60}, Idempotency_Key="more")
    assert (told.status, outcomes) == (200, ["extended", "replayed"])
    assert (await _deadline(api, path) - before).total_seconds() == 60


async def test_a_reply_lost_twice_says_what_to_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/reservations/{await api.held(await api.open_sale(), 'ann')}"
    before = await _deadline(api, path)
    _losing(monkeypatch, times=2)
    extend, body = f"{path}/extend", {"seconds": 60}
    told = await api.buyer("ann", "POST", extend, body, Idempotency_Key="more")
    assert told.told == (503, "recovering")
    assert "same Idempotency-Key" in told.body["detail"]
    again = await api.buyer("ann", "POST", extend, body, Idempotency_Key="more")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await _deadline(api, path) - before).total_seconds() == 60
