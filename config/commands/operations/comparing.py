"""`dropgate reconcile`: asks for a comparison, and follows it to its end.

The comparison is the server's: it goes on when the command ends, and the next command joins it.
"""

import time
from typing import Any, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config.commands.operations.caller import Caller, sale_path
from config.commands.shared import errors, fail

LOOK_SECONDS = 1.0
# How long the first call waits for the result, before progress is shown.
WAIT_SECONDS = 1
UNFINISHED = frozenset({"requested", "running"})
EXIT_INTERRUPTED = 130
_WORDS = {"requested": "waits for the reconciler", "running": "compares"}


def reconciled(api: Caller, sale: str, *, apply: bool) -> dict[str, Any]:
    """The finished comparison; a failure, or Ctrl-C, ends the command with the next step."""
    path = sale_path(sale, "/reconciliations")
    run: dict[str, Any] = api.call("POST", path, {"apply": apply}, prefer=f"wait={WAIT_SECONDS}")
    if run["status"] in UNFINISHED:
        try:
            run = _followed(api, f"{path}/{run['reconciliation_id']}", run)
        except KeyboardInterrupt:
            _leave(run)
    if run["status"] == "failed":
        _fail(run)
    return run


def _followed(api: Caller, path: str, run: dict[str, Any]) -> dict[str, Any]:
    if not errors.is_terminal:
        errors.print(f"{_name(run)} goes on: waiting for its end", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = Progress(
        *columns,
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with shown:
        bar = shown.add_task("", total=None)
        while run["status"] in UNFINISHED:
            words = f"{_name(run)} {_WORDS[run['status']]}"
            shown.update(bar, description=words, completed=run["compared"], total=run["to_compare"])
            time.sleep(LOOK_SECONDS)
            run = api.call("GET", path)
    return run


def _leave(run: dict[str, Any]) -> NoReturn:
    sale, apply = run["sale_id"], " --apply" if run["apply"] else ""
    errors.print(
        f"{_name(run)} goes on without this command. dropgate reconcile {sale}{apply} joins it; "
        f"GET {sale_path(sale, '/reconciliations')}/{run['reconciliation_id']} shows how far it is",
        markup=False,
    )
    raise typer.Exit(EXIT_INTERRUPTED)


def _fail(run: dict[str, Any]) -> NoReturn:
    from config.client import NEXT_STEPS

    failure = run["failure"]
    step = NEXT_STEPS.get(failure, "repeat; the reconciler's log says more")
    fail(f"{_name(run)} failed: {failure}\nNext: {step}.")


def _name(run: dict[str, Any]) -> str:
    return f"reconciliation {run['reconciliation_id']}"
