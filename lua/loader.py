"""Loads the scripts: expands includes, takes each script's SHA-1, names mistakes by file and line.

A line `-- @include name` is replaced by `include/name.lua`, once per script however often it is
named. Includes are plain fragments that take keys as parameters and never touch KEYS or ARGV.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# The scripts of the relays' leases; each is complete in its own file, without includes.
LEASES = HERE / "leases"
_INCLUDE = re.compile(r"^-- @include (\S+)\s*$")


class ScriptError(Exception):
    """A script that cannot be assembled; the text names the file and the line."""


@dataclass(frozen=True, slots=True)
class Script:
    """One assembled script; `sha`, which EVALSHA takes, is the SHA-1 of `source` in hex."""

    name: str
    source: bytes
    sha: str


def _assemble(path: Path, include_dir: Path, open_files: tuple[Path, ...], seen: set[str]) -> str:
    lines: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _INCLUDE.match(line)
        if match is None:
            lines.append(line)
            continue
        name = match.group(1)
        included = include_dir / f"{name}.lua"
        if included in open_files:
            raise ScriptError(f"{path}:{number}: circular include of {name}")
        if not included.is_file():
            raise ScriptError(f"{path}:{number}: no include named {name} in {include_dir}")
        if name not in seen:
            seen.add(name)
            lines.append(_assemble(included, include_dir, (*open_files, included), seen))
    return "\n".join(lines)


def load_script(path: Path) -> Script:
    """Assemble one script. Raises ScriptError for a missing or circular include."""
    source = (_assemble(path, path.parent / "include", (path,), set()) + "\n").encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    return Script(name=path.stem, source=source, sha=sha)


def load_scripts(folder: Path = HERE) -> dict[str, Script]:
    """All scripts of a folder by name; the store's methods and the event types use these names."""
    return {path.stem: load_script(path) for path in sorted(folder.glob("*.lua"))}
