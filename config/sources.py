"""Where settings come from: environment over a TOML file over defaults, checked all at once.

A `DROPGATE_…` variable that names no setting is a mistake, not something to ignore: a misspelt
`DROPGATE_REDIS_URL` must not leave a process with the default.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from config.settings import Settings

PREFIX = "DROPGATE_"
DELIMITER = "__"
CONFIG_VARIABLE = "DROPGATE_CONFIG"
# Variables of commands and tests, which are not settings of a process.
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "DROPGATE_URL", "DROPGATE_TOKEN"})
OTHER_PREFIX = "DROPGATE_TEST_"
MASK = "********"


class SettingsError(Exception):
    """The settings are not usable; `problems` has one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting as `dropgate config check` shows it; `value` is masked where it is secret."""

    name: str
    value: str
    source: str
    description: str


def load_settings(config: Path | None = None) -> Settings:
    """Read and check every setting. Raises `SettingsError` with all mistakes at once."""
    path = _config_path(config)
    problems = _unknown_variables(os.environ)
    if path is not None and not path.is_file():
        problems.append(f"{path}: no such file (named by --config or {CONFIG_VARIABLE})")
        raise SettingsError(problems)

    class Loaded(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid", frozen=True
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env files
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - unused
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return (env_settings,)
            return env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    try:
        loaded = Loaded()
    except ValidationError as error:
        problems.extend(_describe(error))
    except ValueError as error:  # a TOML file that is not TOML, or a section that is not JSON
        problems.append(f"{path or 'environment'}: {error}")
    else:
        if not problems:
            return Settings.model_construct(**{name: getattr(loaded, name) for name in _sections()})
    raise SettingsError(problems)


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process exactly these settings, whatever its file says."""
    return {
        _variable(section, name): (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for section, name, value in _walk(settings)
        if value is not None
    }


def explain(settings: Settings, config: Path | None = None) -> list[Explained]:
    """Every setting with its value (secrets masked) and where it came from."""
    path = _config_path(config)
    in_file = (
        TomlConfigSettingsSource(cast("type[BaseSettings]", Settings), toml_file=path).toml_data
        if path is not None
        else {}
    )
    explained = []
    for section, name, value in _walk(settings):
        if _variable(section, name) in os.environ:
            source = "environment"
        elif name in in_file.get(section, {}):
            source = str(path)
        else:
            source = "default"
        field = type(getattr(settings, section)).model_fields[name]
        explained.append(
            Explained(f"{section}.{name}", _masked(value), source, field.description or "")
        )
    return explained


def _config_path(config: Path | None) -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(named) if named else None)


def _sections() -> list[str]:
    return list(Settings.model_fields)


def _variable(section: str, name: str) -> str:
    return f"{PREFIX}{section}{DELIMITER}{name}".upper()


def _walk(settings: Settings) -> Iterator[tuple[str, str, object]]:
    for section in _sections():
        values = cast("BaseModel", getattr(settings, section))
        for name in type(values).model_fields:
            yield section, name, getattr(values, name)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    sections = {section.upper() for section in _sections()}
    problems = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable.startswith(OTHER_PREFIX):
            continue
        section, delimiter, _ = variable.removeprefix(PREFIX).partition(DELIMITER)
        if not delimiter or section not in sections:
            problems.append(
                f"{variable}: no such setting (names are {PREFIX}SECTION{DELIMITER}NAME, "
                f"sections: {', '.join(_sections())})"
            )
    return problems


def _describe(error: ValidationError) -> list[str]:
    problems = []
    for mistake in error.errors(include_url=False):
        location = [str(part) for part in mistake["loc"]]
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            message = "no such setting"
        variable = DELIMITER.join(location)
        problems.append(
            f"{'.'.join(location)} ({PREFIX}{variable.upper()}): {message}{_meaning(location)}"
        )
    return problems


def _meaning(location: list[str]) -> str:
    """What the setting at a place in the tree means; empty where there is none."""
    section, *names = location
    if section not in _sections() or not names:
        return ""
    field = type(getattr(Settings(), section)).model_fields.get(names[0])
    return f" (meaning: {field.description})" if field is not None else ""


def _masked(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK
    text = "" if value is None else str(value)
    if "://" not in text:
        return text
    parts = urlsplit(text)
    if parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{MASK}@{host}"))
