"""Answers of the API as an operator reads them: tables on a terminal, JSON anywhere else."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from config.commands.shared import output

STATE_STYLES = {"open": "bold green", "paused": "bold yellow", "closed": "bold", "settled": "dim"}

View = Callable[[Any], RenderableType]


def show(answer: object, view: View, *, as_json: bool = False) -> None:
    """Print `answer`: through `view` on a terminal, unless JSON is asked for."""
    if output.is_terminal and not as_json:
        output.print(view(answer))
    else:
        output.print(msgspec.json.format(msgspec.json.encode(answer)).decode(), markup=False)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; a column whose name begins with ">" holds numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left"
        )
    return made


def sale_view(answer: dict[str, Any]) -> RenderableType:
    """A sale and its items, with their counters once the sale is open."""
    snapshot = answer.get("snapshot")
    counters = {item["sku"]: item for item in snapshot["items"]} if snapshot else {}
    counted = ("available", "held", "sold") if snapshot else ()
    paused = set(answer.get("paused_skus", ()))
    rows = table("SKU", "name", ">price", *(f">{name}" for name in counted), "state")
    for item in answer["items"]:
        sku = item["sku"]
        rows.add_row(
            sku,
            item.get("name") or "",
            money(item["price"]),
            *(str(counters[sku][name]) for name in counted),
            "paused" if sku in paused or item.get("state") == "paused" else "",
        )
    return Group(_heading(answer), rows)


def sales_view(answer: dict[str, Any]) -> RenderableType:
    """The list of sales."""
    rows = table("sale", "state", ">version", "opens at", "closes at", "created at")
    for sale in answer["sales"]:
        rows.add_row(
            sale["sale_id"],
            state_text(sale["state"]),
            str(sale["version"]),
            *(sale[name] or "" for name in ("opens_at", "closes_at", "created_at")),
        )
    return rows


def adjustment_view(answer: dict[str, Any]) -> RenderableType:
    """An adjustment, and the counters after it."""
    return Text(
        f"{answer['sku']} at {answer['location']}: {answer['delta']:+}; now "
        f"{answer['available']} available, {answer['held']} held, {answer['sold']} sold"
    )


def accounting_view(answer: dict[str, Any]) -> RenderableType:
    """The final accounting of a sale."""
    names = ("loaded", "adjusted", "confirmed", "restocked", "written_off", "sold", "unsold")
    rows = table("SKU", "location", *(f">{name.replace('_', ' ')}" for name in names))
    for line in answer["lines"]:
        rows.add_row(line["sku"], line["location"], *(str(line[name]) for name in names))
    return Group(
        Text.assemble((answer["sale_id"], "bold"), f" settled at {answer['settled_at']}"),
        rows,
        Text(f"revenue {money(answer['revenue'])}, refunded {money(answer['refunded'])}"),
    )


def reconciliation_view(answer: dict[str, Any]) -> RenderableType:
    """A comparison, each difference with the reservation behind it."""
    rebuilt = "".join(
        f"\npartition {each['partition']} was rebuilt at {each['rebuilt_at']}: what Redis answered "
        f"after {each['previous_epoch']}-{each['previous_sequence']} is lost"
        for each in answer["rebuilds"]
    )
    rebuilt += "".join(
        f"\npartition {each['partition']} was imported into the ledger at {each['imported_at']}: "
        f"there are no events after {each['after_epoch']}-{each['after_sequence']} up to "
        f"{each['epoch']}-{each['sequence']}"
        for each in answer.get("imports", ())  # a gateway of the release before has none
    )
    at = ", ".join(f"{w['partition']}:{w['epoch']}-{w['sequence']}" for w in answer["watermarks"])
    if answer["balanced"]:
        agreement = f": Redis and the ledger agree at {at}{rebuilt}"
        return Text.assemble(("balanced", "bold green"), agreement)
    rows = table("kind", "item", "reservation", "field", ">Redis", ">ledger", "repaired")
    for each in answer["differences"]:
        place = ":".join(part for part in (each["sku"], each["location"]) if part)
        values = (each["field"], each["redis_value"], each["ledger_value"])
        rows.add_row(
            each["kind"],
            place,
            each["reservation_id"] or "",
            *(value or "" for value in values),
            "yes" if each["repaired"] else "no",
        )
    count = len(answer["differences"])
    return Group(Text.assemble((f"{count} differences", "bold red"), f" at {at}{rebuilt}"), rows)


def dead_letters_view(answer: dict[str, Any]) -> RenderableType:
    """Events set aside."""
    rows = table(">id", "event", "reason", "status", "created at", "error")
    for letter in answer["dead_letters"]:
        numbers = (letter["partition"], letter["epoch"], letter["sequence"])
        place = "" if None in numbers else "{}:{}:{}-{}".format(letter["sale_id"], *numbers)
        rows.add_row(
            str(letter["dead_letter_id"]),
            place,
            *(letter[name] for name in ("reason", "status", "created_at", "error")),
        )
    return rows


def money(amount: dict[str, Any]) -> str:
    """An amount in minor units with its currency: currencies differ in their decimal places."""
    return f"{amount['amount']:,} {amount['currency']}"


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=STATE_STYLES.get(state, ""))


def _heading(answer: dict[str, Any]) -> Text:
    words: Iterable[tuple[str, Any]] = (
        ("opens at", answer.get("opens_at")),
        ("closes at", answer.get("closes_at")),
        ("hold", f"{answer['hold_seconds']} s"),
        ("version", answer["version"]),
    )
    facts = " · ".join(f"{name} {value}" for name, value in words if value is not None)
    return Text.assemble(
        (answer["sale_id"], "bold"), " ", state_text(answer["state"]), f" · {facts}"
    )


def queue_view(answer: dict[str, Any]) -> RenderableType:
    """A waiting room in figures."""
    made = table("waiting room", ">value", title=f"{answer['sale_id']}: {answer['mode']}")
    limit = "none" if answer["rate_limit"] is None else f"{answer['rate_limit']:g}"
    rows = (
        ("waiting", f"{answer['waiting']:,}"),
        ("let in now", f"{answer['admitted']:,} of {answer['max_active_buyers']:,}"),
        ("last place called", f"{answer['serving']:,} of {answer['issued']:,}"),
        ("let in a second", f"{answer['outflow']:.1f}"),
        ("over a minute", f"{answer['outflow_minute']:.1f}"),
        ("rate, and its bound", f"{answer['rate']:g}, {limit}"),
        ("units left, may return", f"{answer['units_left']:,}, {answer['units_may_return']:,}"),
        ("turned out", f"{answer['revoked']:,}"),
    )
    for row in rows:
        made.add_row(*row)
    return made
