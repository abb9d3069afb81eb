"""Writes the tables of docs/reference from the code: settings and commands.

`make reference` fills every block from `<!-- generated: … -->` to `<!-- end -->`; all other text of
a page is written by hand. A test compares the pages with `filled`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from config.cli import app
from config.commands.operations.caller import ShowingCaller
from config.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"

_BLOCK = re.compile(r"(<!-- generated: (\w+)([^>]*) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\[default: ([^\]]+)\]")
# A bar inside a cell.
BAR = r"\|"
# What stands for the value of an option.
VALUES: dict[object, str] = {str: "TEXT", int: "N", float: "N", Path: "PATH"}
# The options of every command over the HTTP API have a table of their own.
SHARED = frozenset(field.name for field in fields(ShowingCaller))


def filled(page: str) -> str:
    """The page with each generated block as the code has it now."""
    return _BLOCK.sub(
        lambda block: f"{block[1]}\n{_MAKERS[block[2]](block[3].split())}\n{block[4]}", page
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(headings), "|" + "---|" * len(headings), *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def _settings(sections: Sequence[str]) -> str:
    rows = (row for section in sections for row in _section_rows(section))
    return _table(("setting", "default", "meaning"), rows)


def _section_rows(section: str) -> Iterator[tuple[str, str, str]]:
    values: BaseModel = getattr(Settings(), section)
    for name, field in type(values).model_fields.items():
        full_name = f"{section}.{name}"
        default = _shown(getattr(values, name))
        if full_name == "gateway.run_dir":  # differs from machine to machine
            default = "`dropgate-<uid>` in the folder for temporary files"
        yield f"`{full_name}`", default, field.description or ""


def _commands(words: Sequence[str]) -> str:
    found = [
        each
        for word in words
        for each in _leaves(_group(typer.main.get_command(app)).commands[word], f"dropgate {word}")
    ]
    does = ((f"`{_usage(name, command)}`", _prose(command.help)) for name, command in found)
    rows = [
        (f"`{name} {_spelt(parameter)}`", *_default_and_help(parameter))
        for name, command in found
        for parameter in _own(command)
        if parameter.name != "sale"  # the page says once what SALE is
    ]
    tables = [_table(("command", "does"), does)]
    if rows:
        tables.append(_table(("argument or option", "default", "meaning"), rows))
    return "\n".join(tables)


def _options(_words: Sequence[str]) -> str:
    """The options that all commands over the HTTP API share."""
    sale = _group(_group(typer.main.get_command(app)).commands["sale"])
    rows = (
        (f"`{_spelt(parameter)}`", *_default_and_help(parameter))
        for parameter in sale.commands["list"].params
        if parameter.name in SHARED
    )
    return _table(("option", "default", "meaning"), rows)


def _group(command: object) -> TyperGroup:
    if not isinstance(command, TyperGroup):
        raise TypeError(f"{command} is no group of commands")
    return command


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each command below, with its whole name."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from _leaves(inner, f"{name} {word}")


def _own(command: Any) -> list[Any]:
    """The parameters of a command, without those that all commands over the HTTP API share."""
    names = {parameter.name for parameter in command.params}
    shared = SHARED if "url" in names else frozenset[str]()
    return [
        parameter
        for parameter in command.params
        if parameter.name not in shared and not getattr(parameter, "hidden", False)
    ]


def _usage(name: str, command: Any) -> str:
    """A command with its own parameters, those that may be left out in brackets."""
    spelt = (
        _spelt(parameter) if parameter.required else f"[{_spelt(parameter)}]"
        for parameter in _own(command)
    )
    return " ".join((name, *spelt))


def _spelt(parameter: Any) -> str:
    """A parameter as it is written: `SALE`, `KEYS…`, `--csv`, `--workers N`, `--scope a|b`."""
    kind = parameter.type_descriptor.annotation
    if parameter.param_type_name == "argument":
        name = "|".join(kind) if _is_choice(kind) else parameter.name.upper()
        return name if parameter.nargs == 1 else f"{name} …"
    option = max(parameter.opts, key=len)
    if kind is bool:
        return str(option)
    value = "|".join(kind) if _is_choice(kind) else VALUES[kind]
    return f"{option} {value}"


def _is_choice(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def _default_and_help(parameter: Any) -> tuple[str, str]:
    """A default that depends on something is named by the help text itself, in brackets."""
    named = _DEFAULT.search(parameter.help)
    if parameter.required:
        default = "required"
    elif parameter.type_descriptor.annotation is bool:
        default = "off"
    else:
        default = named[1] if named else _shown(parameter.default)
    return default, _prose(_DEFAULT.sub("", parameter.help))


def _shown(value: object) -> str:
    """A default as the reference shows it."""
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


_MAKERS = {
    "settings": _settings,
    "commands": _commands,
    "options": _options,
}


def main() -> None:
    """Fill the pages, and name those that changed."""
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (new := filled(page)) != page:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))  # noqa: T201 - a tool of the command line


if __name__ == "__main__":
    main()
