"""The commands over the HTTP API share one object: where the API is, the token, calls, answers.

The fields of a caller are the options of its commands. `over_api` reads the class of a command's
first parameter, `Caller` or `ShowingCaller`, adds the options, and passes the command the object.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from config.commands.operations.views import View, show
from config.commands.options import READY, Ready, Sale
from config.commands.shared import fail, settings_or_exit

# Codes of the answers to a call that may have taken effect; empty: there was no answer.
_OUTCOME_UNKNOWN = frozenset({"", "recovering", "internal"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls the API. An address or token of None comes from the ready file, else the settings."""

    url: Annotated[
        str | None,
        typer.Option(
            envvar="DROPGATE_URL",
            help="Address of the API [default: from the ready file, else from the settings].",
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DROPGATE_TOKEN",
            help="Token with scope ops [default: made from the secret of ready file or settings].",
        ),
    ] = None
    ready_file: Ready = READY

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        accept: str = "application/json",
        key: str | None = None,
        prefer: str | None = None,
    ) -> Any:
        """The answer; an error ends the command with the next step. `key`: the call's
        Idempotency-Key, which the error names where the call may have taken effect.
        """
        from config.client import Api, ApiError

        content = None if body is None else msgspec.json.encode(body)
        try:
            api = Api.find(
                settings_or_exit(), url=self.url, token=self.token, ready_file=self.ready_file
            )
            return api.call(method, path, content, accept=accept, key=key, prefer=prefer)
        except ApiError as error:
            if key is None or error.code not in _OUTCOME_UNKNOWN:
                fail(str(error))
            fail(f"{error}\nWhether the call took effect is unknown. Repeat it with --key {key}")


@dataclass(frozen=True, slots=True)
class ShowingCaller(Caller):
    """Calls the API and shows answers: tables on a terminal, JSON elsewhere."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, on a terminal, too.")] = False

    def show(self, answer: object, view: View) -> None:
        """Print `answer`, through `view` on a terminal."""
        show(answer, view, as_json=self.as_json)


def over_api(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: its own parameters, then the options of its caller."""
    of_caller, *own = inspect.signature(command).parameters.values()
    options = inspect.signature(of_caller.annotation).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        caller = of_caller.annotation(**{name: values.pop(name) for name in options})
        command(caller, **values)

    # Typer reads a command's options from its signature.
    run.__signature__ = inspect.Signature([*own, *options.values()])  # type: ignore[attr-defined]
    return run


def sale_path(sale: str, suffix: str = "") -> str:
    """The path of a sale, or of a part of it."""
    return f"/v1/sales/{quote(sale, safe='')}{suffix}"


def sale_command(
    app: typer.Typer, name: str, request: tuple[str, str], view: View, help_text: str
) -> None:
    """Add a command about one sale that sends no body and shows the answer by `view`.

    `request`: the method, and the part of the path after the sale's.
    """
    method, suffix = request

    @app.command(name, help=help_text)
    @over_api
    def command(api: ShowingCaller, sale: Sale) -> None:
        api.show(api.call(method, sale_path(sale, suffix)), view)
