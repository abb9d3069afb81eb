"""What is printed and written down: tables, JSON lines, one Markdown page."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.bench.machine.facts import Facts
from loadtest.bench.parts.table import PARTS
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Grid, number

ALL_PARTS = tuple(part.name for part in PARTS)


def target_rows(results: Results, ran: Sequence[str] = ALL_PARTS) -> list[Row]:
    """The rows of the design's table of numbers that the parts with these names can fill."""
    return [row for part in PARTS if part.name in ran for row in part.rows(results)]


def target_grid(rows: Sequence[Row]) -> Grid:
    """Targets and what was reached."""
    lines = [
        (
            row.what,
            row.against,
            f"{'at least' if row.at_least else 'at most'} {row.target:,g}{row.unit}"
            if row.target
            else "",
            "" if row.reached is None else number(row.reached) + row.unit,
            row.note,
            row.verdict,
        )
        for row in rows
    ]
    head = ("what", "against", "target", "reached", "spread or note", "verdict")
    return Grid("Numbers to reach", head, tuple(lines))


def all_grids(results: Results, rows: Sequence[Row]) -> list[Grid]:
    """The tables of everything that was measured, the targets last."""
    filled = [table.grid(results) for part in PARTS for table in part.tables]
    return [*(grid for grid in filled if grid is not None), target_grid(rows)]


def print_grids(console: Console, facts: Facts, grids: Sequence[Grid]) -> None:
    """On the terminal; where there is none, wide enough not to fold."""
    console.print("\n".join(facts_lines(facts)), soft_wrap=True)
    for grid in grids:
        table = Table(title=grid.title, title_justify="left")
        for position, name in enumerate(grid.head):
            table.add_column(name, overflow="fold", justify="left" if position < 2 else "right")
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)


def facts_lines(facts: Facts) -> list[str]:
    """`name: value`, one a line."""
    return [f"{name}: {value}" for name, value in msgspec.structs.asdict(facts).items()]


def markdown(facts: Facts, command: str, grids: Sequence[Grid], charts: Sequence[Path]) -> str:
    """The page that a run leaves."""
    lines = [
        "# Results of the last run",
        "",
        f"Made by `{command}`. How to read it: docs/benchmarks/README.md.",
        "",
    ]
    lines += [f"- {line}" for line in facts_lines(facts)]
    for grid in reversed(grids):
        lines += ["", f"## {grid.title}", "", _markdown_row(grid.head)]
        lines.append("|" + "---|" * len(grid.head))
        lines += [_markdown_row(row) for row in grid.rows]
    for chart in charts:
        lines += ["", f"![{chart.stem.replace('_', ' ')}]({chart.name})"]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def json_lines(facts: Facts, results: Results, rows: Sequence[Row]) -> bytes:
    """One object a line, each with its `kind`; every round, not only the medians."""
    lines: list[dict[str, object]] = [{"kind": "facts", **msgspec.structs.asdict(facts)}]
    for kind, structs in (
        ("measurement", results.measurements),
        ("verdict", results.verdicts),
        ("target", rows),
    ):
        lines += [{"kind": kind, **msgspec.structs.asdict(one)} for one in structs]
    return msgspec.json.Encoder().encode_lines(lines)
