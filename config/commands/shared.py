"""What commands have in common: their settings, their output and their failures."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from config.settings import Settings
from config.sources import SettingsError, load_settings

# The width of tables in a file or a pipe, which have none: rich would take 80 columns.
PIPE_WIDTH_COLUMNS = 120

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH_COLUMNS
)


def settings_or_exit() -> Settings:
    """The checked settings; on mistakes, print all of them and exit with status 2."""
    try:
        return load_settings()
    except SettingsError as error:
        errors.print("[bold red]error:[/] the settings are not usable:")
        for problem in error.problems:
            errors.print(f"  {problem}", markup=False)
        errors.print("Correct them and try again; dropgate config check shows what is in force.")
        raise typer.Exit(2) from None


def fail(message: str) -> NoReturn:
    """Print the message as an error and exit with status 1."""
    errors.print("[bold red]error:[/] ", end="")
    errors.print(message, markup=False)
    raise typer.Exit(1)


@contextmanager
def servers_needed() -> Iterator[None]:
    """End the command with status 1 and the next step where Redis or PostgreSQL fails."""
    from asyncpg import InterfaceError, PostgresError
    from redis.exceptions import RedisError

    try:
        yield
    except (OSError, RedisError, PostgresError, InterfaceError) as error:
        reason = str(error) or type(error).__name__
        fail(
            f"Redis or PostgreSQL does not answer as it should ({reason}): start dropgate up, "
            "or check --ready-file and the settings (dropgate config check)"
        )
