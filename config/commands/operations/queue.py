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
# All places of a draw are computed where it has at most so many: some seconds.
WHOLE_DRAW_MAX = 1_000_000
TICKET_CHARACTERS = 28
NUMBER_BYTES = 5


sale_command(
    queue_app,
    "show",
    ("GET", "/queue/figures"),
    queue_view,
    "Show who waits, the place being served, and how fast buyers are let in.",
)
for _name, _help in (
    ("pause", "Let nobody in for now; those who were let in go on."),
    ("queue-all", "Let nobody in, and make those wait who were let in."),
    ("resume", "Let buyers in again; those made to wait get their time back."),
):
    sale_command(queue_app, _name, ("POST", f"/queue/{_name}"), queue_view, _help)


@queue_app.command()
@over_api
def rate(
    api: ShowingCaller,
    sale: Sale,
    per_second: Annotated[
        float | None, typer.Argument(help="Most buyers a second; leave it out for no bound.")
    ] = None,
) -> None:
    """Bound how many buyers are let in a second; the room still slows by itself."""
    body = {"per_second": per_second}
    figures = api.call("POST", sale_path(sale, "/queue/rate"), body)
    api.show(figures, queue_view)


@queue_app.command()
@over_api
def revoke(
    api: ShowingCaller,
    sale: Sale,
    buyer: Annotated[str, typer.Argument(help="The buyer's id.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
) -> None:
    """Turn a buyer out: the place is gone, an admission is honoured no more."""
    body = {"buyer_id": buyer, "reason": reason}
    figures = api.call("POST", sale_path(sale, "/queue/revoke"), body)
    api.show(figures, queue_view)


@queue_app.command()
@over_api
def audit(
    api: Caller,
    sale: Sale,
    ticket: Annotated[
        str | None, typer.Option(help="A ticket, or the number on it: whose place to compute.")
    ] = None,
) -> None:
    """Compute a draw anew and say whether it holds; exit status 1 if it does not.

    Checks that the seed is the one that was committed to, and that every number has a place of its
    own; with --ticket, says which place.
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
    output.print("The seed is the one that was committed to.")
    if ticket is not None:
        _tell_place(found, ticket)


def _judge(found: dict[str, Any]) -> str | None:
    """What is wrong with a draw, None where it holds."""
    from gateway.admission.waiting_room.draw import Draw, commitment_of

    seed, count = bytes.fromhex(found["seed"]), int(found["count"])
    if commitment_of(seed).hex() != found["commitment"]:
        return "the seed is not the one that was committed to"
    if count > WHOLE_DRAW_MAX:
        return None
    draw = Draw(seed, count)
    places = {draw.place_of(number) for number in range(1, count + 1)}
    return None if len(places) == count else "two numbers have one place"


def _tell_place(found: dict[str, Any], ticket: str) -> None:
    from gateway.admission.waiting_room.draw import Draw

    number = _number_on(ticket)
    if number > found["count"]:
        output.print(f"Number {number} joined after the draw: its place is {number}.")
        return
    place = Draw(bytes.fromhex(found["seed"]), int(found["count"])).place_of(number)
    output.print(f"Number {number} has place {place}.")


def _number_on(ticket: str) -> int:
    if ticket.isascii() and ticket.isdigit() and int(ticket) >= 1:
        return int(ticket)
    if len(ticket) != TICKET_CHARACTERS:
        fail(f"a ticket has {TICKET_CHARACTERS} characters; a number starts at 1")
    try:
        return int.from_bytes(urlsafe_b64decode(ticket)[:NUMBER_BYTES], "big")
    except ValueError:
        fail("that is no ticket: give it as the buyer was given it")
