"""`dropgate config check`: every setting checked and shown, secrets masked."""

import typer

from config.commands.shared import settings_or_exit
from config.sources import explain

app = typer.Typer(help="Settings: check.", no_args_is_help=True)


@app.command()
def check() -> None:
    """Check every setting and print it with its source; exit status 2 if one is not usable."""
    settings = settings_or_exit()
    rows = explain(settings)
    name_width = max(len(row.name) for row in rows)
    value_width = max(len(row.value) for row in rows)
    source_width = max(len(row.source) for row in rows)
    for row in rows:
        print(
            f"{row.name:<{name_width}}  {row.value:<{value_width}}  "
            f"{row.source:<{source_width}}  {row.description}"
        )
