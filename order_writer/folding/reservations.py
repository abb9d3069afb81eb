"""What a run of events does to each reservation, folded to its last state.

A reservation accepted in the run becomes rows to insert; a reservation of an earlier run becomes a
change that requires the state its first event here needs.
"""

from gateway.inventory.events import EventLine, Reserve
from order_writer.folding.errors import IntegrityViolation
from order_writer.folding.items import ReservationEvent
from order_writer.folding.rows import Folded, LineChange, LineRow, ReservationChange, ReservationRow


class _Line:
    """What the run adds to one line."""

    __slots__ = ("confirmed", "returned")

    def __init__(self) -> None:
        self.confirmed = 0
        self.returned = 0


_UNTOUCHED = _Line()


class FoldedReservation:
    """A reservation as the run has left it so far; `accepted`: its event, if it is of this run."""

    __slots__ = (
        "_lines",
        "accepted",
        "deadline",
        "extended_ms",
        "last",
        "payment_reference",
        "required",
        "state",
    )

    def __init__(self, last: ReservationEvent, required: str) -> None:
        self.last = last
        self.required = required
        self.state = required
        self.accepted: Reserve | None = None
        self.deadline: int | None = None
        self.extended_ms: int | None = None
        self.payment_reference: str | None = None
        self._lines: dict[tuple[str, str], _Line] | None = None  # most runs only accept

    def accept(self, event: Reserve) -> None:
        """Begin as a new hold."""
        self.accepted, self.state = event, "held"
        self.deadline, self.extended_ms = event.deadline, 0
        lines = event.lines
        if len(lines) > 1 and len({(line.sku, line.location) for line in lines}) < len(lines):
            raise IntegrityViolation(f"{event.reservation_id} has a line twice")

    def confirm(self, line: EventLine) -> None:
        """Units of one line were sold."""
        self._line(line).confirmed += line.quantity

    def take_back(self, line: EventLine) -> None:
        """Units of one line were returned."""
        self._line(line).returned += line.quantity

    def add_rows(self, out: Folded) -> None:
        """Add the rows that store this reservation."""
        if self.accepted is None:
            self._add_change(out)
        else:
            self._add_new(out, self.accepted)

    def _line(self, line: EventLine) -> _Line:
        if self._lines is None:
            self._lines = {}
        key = (line.sku, line.location)
        known = self._lines.get(key)
        if known is None:
            accepted = self.accepted
            if accepted and all((own.sku, own.location) != key for own in accepted.lines):
                raise IntegrityViolation(f"{self.last.reservation_id} has no line of {line.sku}")
            known = self._lines[key] = _Line()
        return known

    def _add_new(self, out: Folded, accepted: Reserve) -> None:
        last, reservation_id = self.last, accepted.reservation_id
        out.reservations.append(
            ReservationRow(
                reservation_id, last.sale_id, last.partition, accepted.buyer_id, self.state,
                accepted.fingerprint, self.deadline or 0, self.extended_ms or 0,
                self.payment_reference, accepted.epoch, accepted.sequence, last.epoch,
                last.sequence, accepted.occurred_at, last.occurred_at, accepted.admission,
            )
        )  # fmt: skip
        changed = self._lines or {}
        for line in accepted.lines:
            added = changed.get((line.sku, line.location), _UNTOUCHED)
            out.lines.append(
                LineRow(
                    reservation_id, last.sale_id, line.sku, line.location, line.quantity,
                    added.confirmed, added.returned, line.unit_price,
                )
            )  # fmt: skip

    def _add_change(self, out: Folded) -> None:
        last = self.last
        out.changes.append(
            ReservationChange(
                last.sale_id, last.reservation_id, self.required, self.state, self.deadline,
                self.extended_ms, self.payment_reference, last.epoch, last.sequence,
                last.occurred_at,
            )
        )  # fmt: skip
        for (sku, location), line in (self._lines or {}).items():
            out.line_changes.append(
                LineChange(
                    last.sale_id, last.reservation_id, sku, location, line.confirmed, line.returned
                )
            )


class Reservations:
    """The reservations a run touches."""

    def __init__(self) -> None:
        self._known: dict[str, FoldedReservation] = {}

    def accept(self, event: Reserve) -> None:
        """A new hold."""
        if event.reservation_id in self._known:
            raise IntegrityViolation(f"{event.reservation_id} is reserved twice")
        reservation = FoldedReservation(event, "")
        reservation.accept(event)
        self._known[event.reservation_id] = reservation

    def step(self, event: ReservationEvent, required: str, state: str) -> FoldedReservation:
        """From `required` to `state`; raises where the run has left it in another state."""
        reservation = self._known.get(event.reservation_id)
        if reservation is None:
            reservation = FoldedReservation(event, required)
            self._known[event.reservation_id] = reservation
        elif reservation.state != required:
            raise IntegrityViolation(f"{event.reservation_id} is {reservation.state}")
        reservation.last, reservation.state = event, state
        return reservation

    def add_rows(self, out: Folded) -> None:
        """Add the rows that store all reservations of the run."""
        for reservation in self._known.values():
            reservation.add_rows(out)
