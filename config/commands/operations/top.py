"""`dropgate top SALE`: a sale, live in the terminal."""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from config.commands.operations.caller import Caller, over_api, sale_path
from config.commands.operations.pace import Pace, pace_between
from config.commands.operations.views import state_text, table
from config.commands.options import Sale
from config.commands.shared import output

HISTORY_READINGS = 60
BAR_WIDTH_COLUMNS = 24
SPARKS = "▁▂▃▄▅▆▇█"


@over_api
def top(
    api: Caller,
    sale: Sale,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two readings.")] = 1.0,
    readings: Annotated[
        int | None, typer.Option(min=1, help="Number of readings [default: no end].")
    ] = None,
) -> None:
    """Show a sale live: stock, rates, refusals, latency and the way to the ledger.

    On a terminal it runs until Ctrl-C; elsewhere each reading is one line of JSON.
    """

    def read() -> Iterator[dict[str, Any]]:
        for made in itertools.count(1):
            yield api.call("GET", sale_path(sale, "/figures"))
            if made == readings:
                return
            time.sleep(interval)

    with suppress(KeyboardInterrupt):
        if output.is_terminal:
            _watch(read())
        else:
            for figures in read():
                print(msgspec.json.encode(figures).decode(), flush=True)


def _watch(readings: Iterator[dict[str, Any]]) -> None:
    seen: deque[dict[str, Any]] = deque(maxlen=HISTORY_READINGS)
    with Live(console=output, auto_refresh=False) as live:
        for figures in readings:
            seen.append(figures)
            live.update(view(list(seen)), refresh=True)


def view(seen: list[dict[str, Any]]) -> RenderableType:
    """The screen, from the last readings; the newest is the last."""
    now = seen[-1]
    paces = [pace_between(a, b) for a, b in itertools.pairwise(seen)]
    return Group(
        _head(now),
        _stock(now),
        _waiting_room(now["waiting_room"]),
        _reserves(paces),
        _pipeline(now["pipeline"]),
    )


def _head(now: dict[str, Any]) -> RenderableType:
    moment = datetime.fromisoformat(now["read_at"]).strftime("%H:%M:%S")
    return Text.assemble(
        (now["sale_id"], "bold"), " ", state_text(now["state"]), f" · {moment} UTC"
    )


def _stock(now: dict[str, Any]) -> RenderableType:
    if now["items"] is None:
        return Text("no stock to show: the sale was not opened, or its partition is recovering")
    rows = table("item", ">available", ">held", ">sold", "sold ▇  held ▒")
    for item in now["items"]:
        units = item["available"] + item["held"] + item["sold"]
        rows.add_row(
            item["sku"] + (" (paused)" if item["paused"] else ""),
            *(f"{item[name]:,}" for name in ("available", "held", "sold")),
            _bar(item["sold"], item["held"], units),
        )
    return rows


def _bar(sold: int, held: int, units: int) -> Text:
    """Sold and held units of an item as parts of a bar."""
    if units <= 0:
        return Text("")
    gone = round(BAR_WIDTH_COLUMNS * sold / units)
    kept = round(BAR_WIDTH_COLUMNS * (sold + held) / units) - gone
    rest = BAR_WIDTH_COLUMNS - gone - kept
    return Text.assemble(("▇" * gone, "green"), ("▒" * kept, "yellow"), ("·" * rest, "dim"))


def _waiting_room(now: dict[str, Any] | None) -> RenderableType:
    if now is None:
        return Text("")
    return Text(
        f"waiting {now['waiting']:,}   "
        f"admitted {now['admitted']:,} of {now['max_active_buyers']:,}   "
        f"called {now['outflow']:,.1f} of at most {now['rate']:,.1f} a second   room {now['mode']}"
    )


def _reserves(paces: list[Pace | None]) -> RenderableType:
    last = paces[-1] if paces else None
    if last is None:
        return Text("rates come with the next reading", style="dim")
    rates = [pace.accepted if pace else 0.0 for pace in paces]
    rows = table("reserves", ">a second", "")
    rows.add_row("accepted", f"{last.accepted:,.1f}", sparkline(rates))
    for code, rate in sorted(last.refused.items(), key=lambda pair: -pair[1]):
        history = [pace.refused.get(code, 0.0) if pace else 0.0 for pace in paces]
        rows.add_row(code, f"{rate:,.1f}", sparkline(history))
    times = " · ".join(
        f"p{part * 100:g} {_at_most(bound)}" for part, bound in last.percentiles_ms.items()
    )
    rows.add_row("time to answer", "", times)
    return rows


def _at_most(bound_ms: float | None) -> str:
    if bound_ms is None:
        return "-"
    return "over the last bound" if bound_ms == float("inf") else f"≤ {bound_ms:g} ms"


def _pipeline(now: dict[str, Any] | None) -> RenderableType:
    if now is None:
        return Text("")
    lag = now["ledger_lag_seconds"]
    facts = (
        ("outbox", now["outbox_length"], 0),
        ("ledger lacks", now["ledger_lag_events"], 0),
        ("lag", None if lag is None else f"{lag:.1f} s", 0),
        ("drift", now["drift"], 1),
        ("dead letters", now["dead_letters"], 1),
    )
    line = Text()
    for name, value, alarming in facts:
        shown = "unknown" if value is None else str(value)
        style = "bold red" if alarming and value not in {None, 0} else ""
        line.append(f"{name} ").append(shown, style=style).append("   ")
    for name in ("recovering", "stopped"):
        if now[name]:
            line.append(name.upper(), style="bold white on red").append(" ")
    return line


def sparkline(values: list[float]) -> str:
    """Values as bars of text, the highest the tallest."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return SPARKS[0] * len(values)
    return "".join(SPARKS[round((len(SPARKS) - 1) * max(0.0, v) / highest)] for v in values)
