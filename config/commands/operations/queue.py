"""`dropgate queue …`: a waiting room, over the HTTP API; and its draw, checked on this machine."""

from base64 import urlsafe_b64decode
from typing import Annotated, Any

import typer

from config.commands.operations.caller import (
    Caller,
    ShowingCaller,
    over_api,
    sale_command,
    sale_path,
)
from config.commands.operations.views import queue_view
from config.commands.options import Sale
from config.commands.shared import fail, output

queue_app = typer.Typer(
    help="A sale's waiting room: show, pause, resume, queue-all, rate, revoke, audit."
)
# Up to so many places, all places of a draw are computed: that takes some seconds.
WHOLE_DRAW_MAX = 1_000_000


sale_command(
    queue_app,
    "show",
    ("GET", "/queue/figures"),
    queue_view,
    "Show a waiting room: who waits, the last place called, how fast buyers are let in.",
)
for _name, _help in (
    ("pause", "Let nobody in for now; admitted buyers go on."),
    ("queue-all", "Let nobody in, and make admitted buyers wait, too."),
    ("resume", "Let buyers in again; admitted buyers who had to wait get their time back."),
):
    sale_command(queue_app, _name, ("POST", f"/queue/{_name}"), queue_view, _help)


@queue_app.command()
@over_api
def rate(
    api: ShowingCaller,
    sale: Sale,
    per_second: Annotated[
        float | None, typer.Argument(help="Most buyers per second [default: no bound].")
    ] = None,
) -> None:
    """Bound how many buyers are let in per second; the room still slows down by itself."""
    body = {"per_second": per_second}
    figures = api.call("POST", sale_path(sale, "/queue/rate"), body)
    api.show(figures, queue_view)


@queue_app.command()
@over_api
def revoke(
    api: ShowingCaller,
    sale: Sale,
    buyer: Annotated[str, typer.Argument(help="The buyer's id.")],
    reason: Annotated[str, typer.Option(help="Reason; kept in the audit log.")],
) -> None:
    """Turn a buyer out: the buyer's place is lost, and an admission is no longer accepted."""
    body = {"buyer_id": buyer, "reason": reason}
    figures = api.call("POST", sale_path(sale, "/queue/revoke"), body)
    api.show(figures, queue_view)


@queue_app.command()
@over_api
def audit(
    api: Caller,
    sale: Sale,
    ticket: Annotated[
        str | None, typer.Option(help="Ticket, or the number on it, whose place is printed.")
    ] = None,
) -> None:
    """Compute a draw again and check it; exit status 1 if it does not hold.

    The seed must match its commitment, and every number must have its own place. With --ticket the
    place of that ticket is printed, too.
    """
    found = api.call("GET", sale_path(sale, "/queue/draw"))
    output.print(f"commitment  {found['commitment']}", markup=False)
    if found["seed"] is None:
        output.print("The draw is still to come; its seed is public after it.")
        return
    output.print(f"seed        {found['seed']}\nin the draw {found['count']}", markup=False)
    problem = _judge(found)
    if problem is not None:
        fail(problem)
    output.print("The seed matches its commitment.")
    if ticket is not None:
        _print_place(found, ticket)


def _judge(found: dict[str, Any]) -> str | None:
    """The fault of a draw; None where it holds."""
    from gateway.admission.waiting_room.draw import Draw, commitment_of

    seed, count = bytes.fromhex(found["seed"]), int(found["count"])
    if commitment_of(seed).hex() != found["commitment"]:
        return "the seed does not match its commitment"
    if count > WHOLE_DRAW_MAX:
        return None
    draw = Draw(seed, count)
    places = {draw.place_of(number) for number in range(1, count + 1)}
    return None if len(places) == count else "two numbers have one place"


def _print_place(found: dict[str, Any], ticket: str) -> None:
    from gateway.admission.waiting_room.draw import Draw

    number = _number_on(ticket)
    if number > found["count"]:
        output.print(f"Number {number} joined after the draw: its place is {number}.")
        return
    place = Draw(bytes.fromhex(found["seed"]), int(found["count"])).place_of(number)
    output.print(f"Number {number} has place {place}.")


def _number_on(ticket: str) -> int:
    from gateway.admission.passes import NUMBER_BYTES, TICKET_CHARACTERS

    if ticket.isascii() and ticket.isdigit() and int(ticket) >= 1:
        return int(ticket)
    if len(ticket) != TICKET_CHARACTERS:
        fail(f"a ticket has {TICKET_CHARACTERS} characters; a number starts at 1")
    try:
        return int.from_bytes(urlsafe_b64decode(ticket)[:NUMBER_BYTES], "big")
    except ValueError:
        fail("that is no ticket: give the text that the buyer has")
