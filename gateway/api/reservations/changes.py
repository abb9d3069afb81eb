"""Calls on an existing reservation: read, confirm, cancel, extend, return units.

Redis answers until the sale is settled, then the ledger does. A caller who may not see a
reservation gets not_found.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from gateway.admission.tokens import Principal, Scope
from gateway.api.contract.problems import Problem, not_found, recovering
from gateway.api.contract.requests import ConfirmBody, ReturnBody
from gateway.api.contract.schemas import ReservationAnswer
from gateway.api.ledger.connections import LedgerUnavailable
from gateway.api.reservations.lines import fingerprint_of, numbered_lines
from gateway.api.reservations.refusals import key_reused
from gateway.api.reservations.rendering import reservation_answer
from gateway.api.reservations.resolutions import (
    Resolution,
    already_resolved,
    hold_expired,
    resolution_of,
    unavailable,
)
from gateway.api.reservations.settled import SettledReservation, SettledReservations
from gateway.api.sales.directory import SaleDirectory
from gateway.api.sales.facts import SaleFacts
from gateway.api.sales.lookup import facts_or_problem, is_settled
from gateway.inventory.errors import InventoryError, UnknownOutcome
from gateway.inventory.keys import ReservationId, keyed_token, parse_reservation_id
from gateway.inventory.outcomes import EdgeReply
from gateway.inventory.store import ReservationStore
from gateway.inventory.types import NO_LINES_ASKED, SaleState

ASKED_AGAIN_TIMES = 2

_EXTENSION_UNKNOWN = (
    "Whether the hold was extended is unknown. Read the reservation before you extend it again; "
    "with an Idempotency-Key the call could be repeated at once."
)
_EXTENSION_UNKNOWN_WITH_KEY = (
    "Whether the hold was extended is unknown. Repeat the call with the same Idempotency-Key."
)

Result = TypeVar("Result")


class _Target(msgspec.Struct, frozen=True):
    """The reservation a call names, and its sale, which has been opened."""

    identifier: ReservationId
    facts: SaleFacts


class ReservationService:
    """Reads and changes reservations. Every method raises Problem."""

    def __init__(
        self, directory: SaleDirectory, store: ReservationStore, settled: SettledReservations
    ) -> None:
        """`store` reaches Redis; `settled` reads settled sales in the ledger."""
        self._directory = directory
        self._store = store
        self._settled = settled

    async def read(self, reservation_id: str, principal: Principal) -> ReservationAnswer:
        """The reservation as it is now; a hold past its deadline is expired by the call."""
        target = await self._target(reservation_id)
        return await self._owned(target, principal)

    async def confirm(self, reservation_id: str, body: ConfirmBody) -> Resolution:
        """Held → confirmed, the whole reservation or a part."""
        target = await self._target(reservation_id)
        lines = numbered_lines(target.facts, body.lines) if body.lines else NO_LINES_ASKED
        partition, token = target.identifier.partition, target.identifier.token
        return await self._edge(
            target,
            lambda: self._store.confirm(partition, token, body.payment_reference, lines),
            lambda found: (
                found.answer.state == "confirmed"
                and found.answer.payment_reference == body.payment_reference
            ),
        )

    async def cancel(self, reservation_id: str, principal: Principal) -> Resolution:
        """Held → cancelled."""
        target = await self._target(reservation_id)
        await self._owned(target, principal)
        partition, token = target.identifier.partition, target.identifier.token
        return await self._edge(
            target,
            lambda: self._store.cancel(partition, token, principal.subject),
            lambda found: found.answer.state == "cancelled",
        )

    async def extend(
        self, reservation_id: str, principal: Principal, seconds: int, key: str | None
    ) -> Resolution:
        """Move the deadline later, up to the sale's cap; at the cap nothing changes. With a `key`
        once, however often the call is repeated.
        """
        target = await self._target(reservation_id)
        await self._owned(target, principal)
        partition, token = target.identifier.partition, target.identifier.token
        milliseconds = seconds * 1000
        extend_key, times, unknown = "", 1, _EXTENSION_UNKNOWN
        if key is not None:
            extend_key = keyed_token(target.facts.hash_key, "extend", reservation_id, key)
            times, unknown = ASKED_AGAIN_TIMES, _EXTENSION_UNKNOWN_WITH_KEY
            if target.facts.state is SaleState.SETTLED:
                return await self._settled_repeat(
                    target,
                    lambda: self._settled.extension_fingerprint(target.identifier, extend_key),
                    str(milliseconds),
                    _not_held,
                )

        async def extend() -> EdgeReply:
            try:
                return await _asked_again(
                    lambda: self._store.extend(partition, token, milliseconds, extend_key), times
                )
            except UnknownOutcome as error:
                raise Problem("recovering", unknown) from error

        return await self._edge(target, extend, lambda _found: False, times=1)

    async def return_units(self, reservation_id: str, key: str, body: ReturnBody) -> Resolution:
        """Return units of a confirmed reservation, once per key."""
        target = await self._target(reservation_id)
        lines = numbered_lines(target.facts, body.lines) if body.lines else NO_LINES_ASKED
        partition, token = target.identifier.partition, target.identifier.token
        return_key = keyed_token(target.facts.hash_key, "return", reservation_id, key)
        fingerprint = keyed_token(
            target.facts.hash_key,
            fingerprint_of(body.lines) if body.lines else "all",
            "restock" if body.restock else "written-off",
            body.reason,
        )[:11]
        if target.facts.state is SaleState.SETTLED:
            return await self._settled_repeat(
                target,
                lambda: self._settled.return_fingerprint(target.identifier, return_key),
                fingerprint,
                lambda _found: Problem("invalid_state", "The sale is settled.", state="settled"),
            )
        return await self._edge(
            target,
            lambda: self._store.return_units(
                partition,
                token,
                return_key,
                lines,
                restock=body.restock,
                reason=body.reason,
                fingerprint=fingerprint,
            ),
            lambda _found: False,
        )

    async def _target(self, reservation_id: str) -> _Target:
        identifier = parse_reservation_id(reservation_id)
        if identifier is None:
            raise not_found("reservation")
        try:
            facts = await facts_or_problem(self._directory, identifier.partition.sale_id)
        except Problem as problem:
            if problem.kind.code != "not_found":
                raise
            raise not_found("reservation") from problem
        if not facts.opened or identifier.partition not in facts.partition_ids:
            raise not_found("reservation")
        return _Target(identifier, facts)

    async def _owned(self, target: _Target, principal: Principal) -> ReservationAnswer:
        answer = await self._current(target)
        if answer is None or not may_see(principal, answer.buyer_id):
            raise not_found("reservation")
        return answer

    async def _current(self, target: _Target) -> ReservationAnswer | None:
        partition = target.identifier.partition
        if target.facts.state is not SaleState.SETTLED:
            try:
                (found,) = await _asked_again(
                    lambda: self._store.read(partition, (target.identifier.token,))
                )
            except InventoryError as error:
                if not await is_settled(self._directory, partition.sale_id):
                    raise unavailable(error) from error
            else:
                if found is None:
                    return None
                return reservation_answer(target.facts, partition, found)
        settled = await self._find_settled(target)
        return None if settled is None else settled.answer

    async def _edge(
        self,
        target: _Target,
        call: Callable[[], Awaitable[EdgeReply]],
        done_before: Callable[[SettledReservation], bool],
        *,
        times: int = ASKED_AGAIN_TIMES,
    ) -> Resolution:
        """Change the state in Redis; in a settled sale only a call `done_before` succeeds."""
        if target.facts.state is not SaleState.SETTLED:
            try:
                return resolution_of(
                    target.facts, target.identifier.partition, await _asked_again(call, times)
                )
            except InventoryError as error:
                if not await is_settled(self._directory, target.facts.sale_id):
                    raise unavailable(error) from error
        found = await self._find_settled(target)
        if found is None:
            raise not_found("reservation")
        if done_before(found):
            return Resolution(found.answer, replayed=True)
        raise _not_held(found)

    async def _settled_repeat(
        self,
        target: _Target,
        made: Callable[[], Awaitable[str | None]],
        fingerprint: str,
        refusal: Callable[[SettledReservation], Problem],
    ) -> Resolution:
        """The answer to a call with a key: `made` finds the fingerprint of the call that used it, a
        new call gets the `refusal`.
        """
        found = await self._find_settled(target)
        if found is None:
            raise not_found("reservation")
        try:
            known = await made()
        except LedgerUnavailable as error:
            raise recovering() from error
        if known is None:
            raise refusal(found)
        if known != fingerprint:
            raise key_reused()
        return Resolution(found.answer, replayed=True)

    async def _find_settled(self, target: _Target) -> SettledReservation | None:
        try:
            return await self._settled.find(target.identifier)
        except LedgerUnavailable as error:
            raise recovering() from error


def may_see(principal: Principal, buyer_id: str) -> bool:
    """Whether the caller may see this buyer's reservations: buyers only their own, services all."""
    return principal.scope is not Scope.BUYER or principal.subject == buyer_id


def _not_held(found: SettledReservation) -> Problem:
    """The Problem of a change that only a hold takes: in a settled sale nothing is held."""
    if found.answer.state == "expired":
        return hold_expired(found.answer)
    return already_resolved(found.answer)


async def _asked_again(
    call: Callable[[], Awaitable[Result]], times: int = ASKED_AGAIN_TIMES
) -> Result:
    """Make an idempotent call; at most `times` tries while its outcome is unknown."""
    for _ in range(times - 1):
        try:
            return await call()
        except UnknownOutcome:
            continue
    return await call()
